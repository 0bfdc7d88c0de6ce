"""The optimiser's step, in place, in one launch for all parameters.

Half of a network's parameters are vectors of a few hundred numbers: a launch for each would cost more than its work.
The kernel gets a table of addresses, and a block takes a piece of one parameter.
"""

from functools import lru_cache

import numpy as np

from ..checks import check_update
from .arrays import constant, from_numpy
from .device import THREADS, Kernel, cuda
from .llvm import load_at, store_at

_PIECE = 4 * THREADS  # numbers of a block


def sgd_update(params, velocities, grads, lr, momentum, weight_decays):
    """v <- momentum v + grad + weight_decay p;  p <- p - lr v, in place, for every parameter.

    Args:
        params, velocities, grads: lists of as many arrays, of one shape for each parameter and one dtype for each.
        weight_decays: a number for each.

    Source: Sutskever et al. 2013 with the learning rate outside the velocity, as in DeepLab's training code.
    """
    check_update(params, velocities, grads, weight_decays)
    for dtype in {p.dtype for p in params}:
        chosen = [i for i, p in enumerate(params) if p.dtype == dtype]
        sizes = tuple(params[i].size for i in chosen)
        addresses = [[arrays[i].address for i in chosen] for arrays in (params, velocities, grads)]
        table = from_numpy(np.array(addresses, np.int64))  # gradients lie elsewhere in every step
        decays = np.array([weight_decays[i] for i in chosen], dtype)
        pieces, owners, starts = _pieces(sizes)
        if not pieces:
            continue
        t = dtype.type
        _update(
            pieces, THREADS, len(sizes), table, constant(np.array(sizes, np.int64)), owners, starts,
            constant(decays), t(lr), t(momentum),
        )  # fmt: skip


@lru_cache(maxsize=16)
def _pieces(sizes):
    """(count, owner of each, first number of each): which piece of which parameter a block takes."""
    counts = [-(-size // _PIECE) for size in sizes]
    owners = np.repeat(np.arange(len(sizes)), counts)
    starts = np.concatenate([_PIECE * np.arange(count) for count in counts])
    return len(owners), constant(owners.astype(np.int64)), constant(starts.astype(np.int64))


@Kernel
def _update(count, table, sizes, owners, starts, weight_decays, lr, momentum):
    owner, start = owners[cuda.blockIdx.x], starts[cuda.blockIdx.x]
    param, velocity, grad = table[owner], table[count + owner], table[2 * count + owner]
    weight_decay = weight_decays[owner]
    for i in range(start + cuda.threadIdx.x, min(start + _PIECE, sizes[owner]), THREADS):
        p = load_at(param, i, lr)
        v = momentum * load_at(velocity, i, lr) + (load_at(grad, i, lr) + weight_decay * p)
        store_at(velocity, i, v)
        store_at(param, i, p - lr * v)
