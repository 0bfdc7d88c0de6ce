"""The optimiser's step on one parameter, in place, in one pass."""

from numba import prange

from ..checks import check_update
from .jit import jit_parallel
from .parts import PARTS, bounds


def sgd_update(param, velocity, grad, lr, momentum, weight_decay):
    """v <- momentum v + grad + weight_decay p;  p <- p - lr v, both in place.

    Args:
        param, velocity, grad: arrays of one shape and dtype.

    Source: Sutskever et al. 2013 with the learning rate outside the velocity, as in DeepLab's training code.
    """
    check_update(param, velocity, grad)
    t = param.dtype.type
    _sgd_update(param.reshape(-1), velocity.reshape(-1), grad.reshape(-1), t(lr), t(momentum), t(weight_decay))


@jit_parallel
def _sgd_update(param, velocity, grad, lr, momentum, weight_decay):
    for part in prange(PARTS):
        first, last = bounds(part, PARTS, param.size)
        p, v, g = param[first:last], velocity[first:last], grad[first:last]
        for i in range(p.size):
            v[i] = momentum * v[i] + g[i] + weight_decay * p[i]
            p[i] -= lr * v[i]
