"""Fully connected conditional random fields: segmentations that follow the edges of their image.

refine(scores, image)             one call, with the settings of DeepLab v1, v2, CRF as RNN or pydensecrf
DenseField, LatticeFilter, ...    the parts: unary costs, filters, inference with its free energy
DenseCRF, DenseCRF2D, ...         the interface of pydensecrf

A name is looked up when it is first used: settings can be read without the CRF. README.md has the equations, the
conventions, and which file holds what.
"""

import importlib

_HOMES = {  # file: its names
    "presets": (
        "PRESETS",
        "Preset",
        "preset_of",
    ),
    "densecrf": (
        "CONST_KERNEL",
        "DIAG_KERNEL",
        "FULL_KERNEL",
        "NO_NORMALIZATION",
        "NORMALIZE_AFTER",
        "NORMALIZE_BEFORE",
        "NORMALIZE_SYMMETRIC",
        "ConstUnary",
        "DenseCRF",
        "DenseCRF2D",
        "KernelType",
        "LogisticUnary",
        "NormalizationType",
        "compute_unary",
        "create_pairwise_bilateral",
        "create_pairwise_gaussian",
        "softmax_to_unary",
        "unary_from_labels",
        "unary_from_softmax",
    ),
    "field": (
        "DenseField",
        "Step",
    ),
    "filters": (
        "ExactFilter",
        "GaussianFilter",
        "LatticeFilter",
        "SeparableFilter",
        "bilateral_features",
        "position_features",
        "position_filter",
    ),
    "layer": (
        "CRFLayer",
        "filter_each",
    ),
    "refinement": ("edges_of", "refine"),
}
_HOME = {name: file for file, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return __all__
