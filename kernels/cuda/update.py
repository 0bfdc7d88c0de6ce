"""The optimiser's step on one parameter, in place."""

from ..checks import check_update
from .device import Kernel, cuda


def sgd_update(param, velocity, grad, lr, momentum, weight_decay):
    """v <- momentum v + grad + weight_decay p;  p <- p - lr v, both in place.

    Args:
        param, velocity, grad: arrays of one shape and dtype.

    Source: Sutskever et al. 2013 with the learning rate outside the velocity, as in DeepLab's training code.
    """
    check_update(param, velocity, grad)
    t = param.dtype.type
    _update.flat(param.size, param.size, param, velocity, grad, t(lr), t(momentum), t(weight_decay))


@Kernel
def _update(count, param, velocity, grad, lr, momentum, weight_decay):
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        velocity[i] = momentum * velocity[i] + (grad[i] + weight_decay * param[i])
        param[i] -= lr * velocity[i]
