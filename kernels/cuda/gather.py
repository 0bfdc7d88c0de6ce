"""Which pixels an output position reads: one description for a convolution and for its adjoint in the input.

Output position p reads, at tap kh, the source row (p step + origin + kh tap) / divisor, where that is whole and inside:

    forward     step = stride, origin = -pad, tap = rate,  divisor = 1
    grad_input  step = 1,      origin = pad,  tap = -rate, divisor = stride
"""


def forward_gather(win):
    """(step_h, step_w, origin_h, origin_w, tap_h, tap_w, divisor_h, divisor_w) of y from x."""
    return win.stride_h, win.stride_w, -win.pad_top, -win.pad_left, win.rate_h, win.rate_w, 1, 1


def input_gather(win):
    """The same of grad_x from grad."""
    return 1, 1, win.pad_top, win.pad_left, -win.rate_h, -win.rate_w, win.stride_h, win.stride_w
