"""Measurements: the kernels and whole models against the machine's bounds, and against PyTorch in the same process."""
