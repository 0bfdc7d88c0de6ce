"""The optimiser's step, in place, one pass over each parameter."""

from ..checks import check_update
from .jit import jit_parallel
from .parts import PARTS, bounds


def sgd_update(params, velocities, grads, lr, momentum, weight_decays):
    """v <- momentum v + grad + weight_decay p;  p <- p - lr v, in place, for every parameter.

    Args:
        params, velocities, grads: lists of as many arrays, of one shape for each parameter and one dtype for each.
        weight_decays: a number for each.

    Source: Sutskever et al. 2013 with the learning rate outside the velocity, as in DeepLab's training code.
    """
    check_update(params, velocities, grads, weight_decays)
    for *arrays, weight_decay in zip(params, velocities, grads, weight_decays, strict=True):
        t = arrays[0].dtype.type
        _sgd_update(PARTS, *(a.reshape(-1) for a in arrays), t(lr), t(momentum), t(weight_decay))


@jit_parallel
def _sgd_update(part, param, velocity, grad, lr, momentum, weight_decay):
    first, last = bounds(part, PARTS, param.size)
    p, v, g = param[first:last], velocity[first:last], grad[first:last]
    for i in range(p.size):
        v[i] = momentum * v[i] + g[i] + weight_decay * p[i]
        p[i] -= lr * v[i]
