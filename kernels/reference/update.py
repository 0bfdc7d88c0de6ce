"""The optimiser's step, in place."""

from ..checks import check_update


def sgd_update(params, velocities, grads, lr, momentum, weight_decays):
    """v <- momentum v + grad + weight_decay p;  p <- p - lr v, in place, for every parameter.

    Args:
        params, velocities, grads: lists of as many arrays, of one shape for each parameter and one dtype for each.
        weight_decays: a number for each.

    Source: Sutskever et al. 2013 with the learning rate outside the velocity, as in DeepLab's training code.
    """
    check_update(params, velocities, grads, weight_decays)
    for param, velocity, grad, weight_decay in zip(params, velocities, grads, weight_decays, strict=True):
        t = param.dtype.type
        velocity *= t(momentum)
        velocity += grad + t(weight_decay) * param
        param -= t(lr) * velocity
