"""Numba kernels for the CPU: the functions of `kernels.reference`, fast, the same bits on any number of threads."""

from .arrays import (
    copy,
    empty,
    flatten,
    from_numpy,
    full,
    is_finite,
    part,
    release_pool,
    reshape,
    synchronize,
    to_numpy,
    zeros,
)
from .confusion import confusion_matrix
from .conv2d import conv2d, conv2d_grad_input, conv2d_grad_weight
from .cross_entropy import cross_entropy, cross_entropy_grad
from .depthwise import depthwise_conv2d, depthwise_conv2d_grad_input, depthwise_conv2d_grad_weight
from .elementwise import activate, activate_grad, add, dropout, expand, multiply, sum_to
from .lattice import blur, build_lattice, join_lattices, slice_lattice, splat
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
from .norm_then_pointwise import pointwise_of_batch_norm, pointwise_of_batch_norm_grad_weight
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
from .separable import separable_conv2d
from .softmax import argmax, log_softmax, log_softmax_grad, softmax, softmax_grad
from .update import sgd_update
