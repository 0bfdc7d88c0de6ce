"""Batch norm over ranks against batch norm of the whole batch, on any device."""

import numpy as np
from ranks_in_threads import in_threads, part_of
from strategies import normal

import kernels
from minideeplab import Tensor, ops

TOGETHER = ("gamma", "beta", "w")  # gradients that are sums over the ranks


def case(shape, columns=0, residual=False, seed=0):
    """Arrays of float64: each channel has a mean and a spread of its own, and so has each image."""
    n, _, _, c = shape
    x, other = normal(seed, shape, shape)
    x = x * np.linspace(0.3, 2, c) + np.linspace(-3, 3, c) + np.arange(n).reshape(-1, 1, 1, 1)
    gamma, beta, w = normal(seed + 1, (c,), (c,), (1, 1, c, max(columns, 1)))
    grad = normal(seed + 2, (*shape[:3], columns or c))
    arrays = {"x": x, "gamma": gamma + 2, "beta": beta, "grad": grad}
    return arrays | ({"w": w} if columns else {}) | ({"residual": other} if residual else {})


def computed(group, arrays, device, options, steps=2):
    """Output, gradients and running statistics after some steps; of a rank, those of its part."""
    parts = {
        name: a if group is None or name not in ("x", "grad", "residual") else part_of(group, a)
        for name, a in arrays.items()
    }
    inputs = {
        name: Tensor(kernels.to_device(np.ascontiguousarray(a), device), requires_grad=True)
        for name, a in parts.items()
        if name != "grad"
    }
    x, gamma, beta, w, residual = (inputs.get(name) for name in ("x", "gamma", "beta", "w", "residual"))
    c = gamma.shape[0]
    running = [kernels.to_device(a, device) for a in (np.linspace(-0.5, 0.5, c), np.linspace(0.5, 2, c))]
    for _ in range(steps):
        for each in inputs.values():
            each.grad = None
        if w is None:
            y = ops.batch_norm(x, gamma, beta, *running, residual=residual, group=group, **options)
        else:
            y = ops.conv2d_of_batch_norm(x, gamma, beta, w, *running, group=group, **options)
        y.backward(kernels.to_device(np.ascontiguousarray(parts["grad"]), device))
    found = {name: kernels.to_device(t.grad, "cpu") for name, t in inputs.items()}
    return found | {"y": y.numpy(), **{f"running {i}": kernels.to_device(a, "cpu") for i, a in enumerate(running)}}


def assert_ranks_are_one(size, arrays, device="cpu", tolerance=1e-10, **options):
    """So many ranks, each with a part of the batch, compute what one process does with the whole."""
    whole = computed(None, arrays, device, options)
    ranks = in_threads(size, computed, arrays, device, options)
    for name, expected in whole.items():
        parts = [found[name] for found in ranks]
        if name in TOGETHER:
            together = np.sum(parts, axis=0)
        elif name.startswith("running"):
            assert all((part == parts[0]).all() for part in parts)
            together = parts[0]
        else:
            together = np.concatenate(parts)
        scale = abs(expected).max()
        np.testing.assert_allclose(together, expected, rtol=0, atol=tolerance * scale, err_msg=name)
