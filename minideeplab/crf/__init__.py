"""Fully connected conditional random fields: segmentations that follow the edges of their image.

refine(scores, image)             one call, with the settings of DeepLab v1, v2, CRF as RNN or pydensecrf
DenseField, LatticeFilter, ...    the parts: unary costs, filters, inference with its free energy
DenseCRF, DenseCRF2D, ...         the interface of pydensecrf
"""

from .densecrf import (
    CONST_KERNEL,
    DIAG_KERNEL,
    FULL_KERNEL,
    NO_NORMALIZATION,
    NORMALIZE_AFTER,
    NORMALIZE_BEFORE,
    NORMALIZE_SYMMETRIC,
    ConstUnary,
    DenseCRF,
    DenseCRF2D,
    KernelType,
    LogisticUnary,
    NormalizationType,
    create_pairwise_bilateral,
    create_pairwise_gaussian,
    unary_from_labels,
    unary_from_softmax,
)
from .field import DenseField, Step
from .filters import (
    ExactFilter,
    GaussianFilter,
    LatticeFilter,
    SeparableFilter,
    bilateral_features,
    position_features,
)
from .layer import CRFLayer, filter_each
from .refine import PRESETS, Preset, preset_of, refine

__all__ = [
    "CONST_KERNEL",
    "DIAG_KERNEL",
    "FULL_KERNEL",
    "NORMALIZE_AFTER",
    "NORMALIZE_BEFORE",
    "NORMALIZE_SYMMETRIC",
    "NO_NORMALIZATION",
    "PRESETS",
    "CRFLayer",
    "ConstUnary",
    "DenseCRF",
    "DenseCRF2D",
    "DenseField",
    "ExactFilter",
    "GaussianFilter",
    "KernelType",
    "LatticeFilter",
    "LogisticUnary",
    "NormalizationType",
    "Preset",
    "SeparableFilter",
    "Step",
    "bilateral_features",
    "create_pairwise_bilateral",
    "create_pairwise_gaussian",
    "filter_each",
    "position_features",
    "preset_of",
    "refine",
    "unary_from_labels",
    "unary_from_softmax",
]
