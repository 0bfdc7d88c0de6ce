"""The optimiser's step on one parameter, in place."""

from ..checks import check_update


def sgd_update(param, velocity, grad, lr, momentum, weight_decay):
    """v <- momentum v + grad + weight_decay p;  p <- p - lr v, both in place.

    Args:
        param, velocity, grad: arrays of one shape and dtype.

    Source: Sutskever et al. 2013 with the learning rate outside the velocity, as in DeepLab's training code.
    """
    check_update(param, velocity, grad)
    t = param.dtype.type
    velocity *= t(momentum)
    velocity += grad + t(weight_decay) * param
    param -= t(lr) * velocity
