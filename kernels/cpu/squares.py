"""Squares of pixels taken to the points of a Winograd convolution, and back: y = A^T [(G w G^T) * (B^T x B)] A.

A square's pixels lie `rates` apart, for a convolution at rate r is one at rate 1 on each of its r x r phases. At the
points stand (side + 2)^2 values, `slot` elements apart. Each function takes the sides of winograd_plan.py, 2 and 4.
"""

from .jit import jit
from .llvm_transform import transform_intrinsic
from .rows import copy_row
from .tile import VECTOR_BYTES
from .winograd_plan import matrices


def _transforms(side):
    a, g, b = matrices(side)
    return [transform_intrinsic(m, VECTOR_BYTES) for m in (b.T, a.T, g, a, g.T)]


_x_of_2, _y_of_2, _w_of_2, _grad_of_2, _grad_w_of_2 = _transforms(2)
_x_of_4, _y_of_4, _w_of_4, _grad_of_4, _grad_w_of_4 = _transforms(4)


@jit
def origin(square, down, across):
    """Image, row and column of a square's first output; down, across: from `origins`."""
    n, square = square // (down.size * across.size), square % (down.size * across.size)
    return n, down[square // across.size], across[square % across.size]


@jit
def to_points(x, place, rates, side, channels, memory, to, slot, patch):
    """memory[to + i slot + c] = (B^T x B)[i] for the square of side + 2 pixels from `place` on, zero outside the image.

    Args:
        place: image, row, column; channels: first one, and their number; patch: memory for a square.
    """
    pixels, at, down, across = _find(x, place, rates, side + 2, channels, patch)
    if side == 4:
        _x_of_4(pixels, at, down, across, memory, to, 6 * slot, slot, channels[1])
    else:
        _x_of_2(pixels, at, down, across, memory, to, 4 * slot, slot, channels[1])


@jit
def grad_to_points(grad, place, rates, side, channels, memory, to, slot, patch):
    """memory[to + i slot + k] = (A g A^T)[i] for the square of `side` pixels; otherwise as `to_points`."""
    pixels, at, down, across = _find(grad, place, rates, side, channels, patch)
    if side == 4:
        _grad_of_4(pixels, at, down, across, memory, to, 6 * slot, slot, channels[1])
    else:
        _grad_of_2(pixels, at, down, across, memory, to, 4 * slot, slot, channels[1])


@jit
def to_outputs(memory, at, slot, y, place, rates, side, patch):
    """The square of outputs from `place` on, A^T m A of memory[at + i slot + k]; none outside the image."""
    (n, p, q), (_, height, width, channels) = place, y.shape
    inside = _is_inside(y, place, rates, side)
    pixels = y.reshape(-1) if inside else patch
    to = ((n * height + p) * width + q) * channels if inside else 0
    down, across = (rates[0] * width * channels, rates[1] * channels) if inside else (side * channels, channels)
    if side == 4:
        _y_of_4(memory, at, 6 * slot, slot, pixels, to, down, across, channels)
    else:
        _y_of_2(memory, at, 4 * slot, slot, pixels, to, down, across, channels)
    if not inside:
        for i in range(side):
            for j in range(side):
                row, column, at = p + i * rates[0], q + j * rates[1], (i * side + j) * channels
                if row < height and column < width:
                    copy_row(patch[at : at + channels], y[n, row, column])


@jit
def weights_to_points(w, at, down, across, side, points, to, slot, n):
    """points[to + i slot + j] = (G w G^T)[i] of the taps w[at + kh down + kw across + j], j < n."""
    if side == 4:
        _w_of_4(w, at, down, across, points, to, 6 * slot, slot, n)
    else:
        _w_of_2(w, at, down, across, points, to, 4 * slot, slot, n)


@jit
def weights_from_points(points, at, slot, side, taps, tap, n):
    """taps[i tap + j] = (G^T m G)[i] of points[at + i slot + j], j < n: the adjoint of `weights_to_points`."""
    if side == 4:
        _grad_w_of_4(points, at, 6 * slot, slot, taps, 0, 3 * tap, tap, n)
    else:
        _grad_w_of_2(points, at, 4 * slot, slot, taps, 0, 3 * tap, tap, n)


@jit
def _find(image, place, rates, size, channels, patch):
    """Where some channels of a square lie: array, start, steps down and across.

    Pixels of a square that is not wholly in the image are copied to `patch`, side by side, and zeros for those outside.
    """
    (n, p, q), (_, height, width, depth), (first, count) = place, image.shape, channels
    if _is_inside(image, place, rates, size):
        at = ((n * height + p) * width + q) * depth + first
        return image.reshape(-1), at, rates[0] * width * depth, rates[1] * depth
    for i in range(size):
        for j in range(size):
            row, column, to = p + i * rates[0], q + j * rates[1], (i * size + j) * count
            if 0 <= row < height and 0 <= column < width:
                copy_row(image[n, row, column, first : first + count], patch[to : to + count])
            else:
                patch[to : to + count] = 0
    return patch, 0, size * count, count


@jit
def _is_inside(image, place, rates, size):
    """Whether the image has all pixels of a square."""
    _, p, q = place
    last_row, last_column = p + (size - 1) * rates[0], q + (size - 1) * rates[1]
    return 0 <= p and last_row < image.shape[1] and 0 <= q and last_column < image.shape[2]
