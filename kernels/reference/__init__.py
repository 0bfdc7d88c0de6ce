"""The oracle: every kernel straight from its definition, in NumPy, for float32 and float64. Slow and obvious."""

from .arrays import copy, empty, flatten, from_numpy, full, is_finite, part, reshape, synchronize, to_numpy, zeros
from .confusion import confusion_matrix
from .conv2d import atrous_conv1d, conv2d, conv2d_grad_input, conv2d_grad_weight
from .cross_entropy import cross_entropy, cross_entropy_grad
from .depthwise import depthwise_conv2d, depthwise_conv2d_grad_input, depthwise_conv2d_grad_weight
from .elementwise import activate, activate_grad, add, dropout, expand, multiply, sum_to
from .lattice import (
    blur,
    build_lattice,
    exact_gaussian,
    join_lattices,
    simplex_of,
    slice_lattice,
    splat,
)
from .layout import concat, crop, pad, split
from .mean_field import mean_field_update
from .norm import (
    batch_norm,
    batch_norm_factors,
    batch_norm_grad,
    batch_norm_grad_input,
    batch_norm_grad_sums,
    batch_norm_statistics,
    update_running,
)
from .pointwise import pointwise, pointwise_grad_input, pointwise_grad_weight
from .pool import (
    adaptive_average_pool2d,
    adaptive_average_pool2d_grad,
    adaptive_max_pool2d,
    adaptive_max_pool2d_grad,
    average_pool2d,
    average_pool2d_grad,
    max_pool2d,
    max_pool2d_grad,
)
from .resize import resize_bilinear, resize_bilinear_grad, resize_nearest, resize_nearest_grad
from .rounding import to_bfloat16, to_float32
from .softmax import argmax, log_softmax, log_softmax_grad, softmax, softmax_grad
from .update import sgd_update
