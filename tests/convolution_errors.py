"""Rounding errors of float32 convolutions, one way of computing beside another: `python tests/convolution_errors.py`.

Prints the table of kernels/cpu/README.md: root mean square / largest of |error| / sum |x w|, in units of 2^-24, for
the register tile, bfloat16 slices on the processor's fastest engine, and Winograd by squares of 2x2 and 4x4; x normal
after a ReLU, weights of He's size, gradients normal, compared with float64.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import numpy as np
from engines import engine
from strategies import normal

import kernels
from kernels import reference
from kernels.cpu import bfloat16_block, winograd, winograd_grad_weight
from kernels.geometry import Window

cpu = kernels.load("cpu")
LAYERS = [
    Window.conv((1, size, size, c), (k, k, c, columns), padding="same")
    for c, columns, size, k in (
        (96, 96, 65, 1), (728, 728, 33, 1), (2048, 256, 33, 1), (128, 128, 65, 3), (256, 256, 65, 3), (512, 512, 33, 3)
    )
]  # fmt: skip
FASTEST = bfloat16_block.ENGINE


def directions(k, x, w, grad, win):
    """y, grad_x, grad_w of a backend."""
    return k.conv2d(x, w, win), k.conv2d_grad_input(grad, w, win), k.conv2d_grad_weight(x, grad, win)


def direct(name, x, w, grad, win):
    """Without squares: by slices on this engine, of layers of any size; on "plain" by the register tile."""
    names = ("side_of", "blocks_compute")
    places = [f.__globals__ for f in (cpu.conv2d, cpu.pointwise)]
    before = [(place, n, place[n]) for place in places for n in names if n in place]
    try:
        for place, n, _ in before:
            place[n] = (lambda *_: 0) if n == "side_of" else (lambda *_: name != "plain")
        with engine(name):
            return directions(cpu, x, w, grad, win)
    finally:
        for place, n, value in before:
            place[n] = value


def by_squares(side, x, w, grad, win):
    return (
        winograd.forward(x, w, win, side),
        winograd.grad_input(grad, w, win, side),
        winograd_grad_weight.grad_weight(x, grad, win, side),
    )


def main():
    print(f"slices on {FASTEST}")
    for win in LAYERS:
        x, w, grad = normal(1, win.x_shape, win.w_shape, win.y_shape, dtype=np.float32)
        x, w = np.maximum(x, 0), w * np.float32((2 / (win.k_h * win.k_w * win.c_in)) ** 0.5)
        wide = [a.astype(np.float64) for a in (x, w, grad)]
        exact, magnitudes = directions(reference, *wide, win), directions(reference, *map(abs, wide), win)
        ways = [direct("plain", x, w, grad, win), direct(FASTEST, x, w, grad, win)]
        ways += [by_squares(side, x, w, grad, win) for side in (2, 4) if win.k_h == 3]
        layer = f"{win.c_in}->{win.c_out} {win.k_h}x{win.k_h} {win.in_h}x{win.in_w}"
        for i, direction in enumerate(("forward", "input gradient", "weight gradient")):
            errors = [(way[i] - exact[i]) / magnitudes[i] * 2**24 for way in ways]
            cells = [f"{(e**2).mean() ** 0.5:.2g} / {abs(e).max():.2g}" for e in errors]
            print(f"| {layer if i == 0 else ''} | {direction} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
