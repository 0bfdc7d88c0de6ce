"""No call reads or writes out of bounds: windows of another op and arrays that disagree are refused by all backends."""

import numpy as np
import pytest
from strategies import each_backend

import kernels
from kernels.geometry import Window

X, G = np.ones((1, 6, 6, 4), np.float32), np.ones((1, 3, 3, 4), np.float32)
W, D = np.ones((3, 3, 4, 4), np.float32), np.ones((3, 3, 4), np.float32)
DENSE, DEPTHWISE = Window.conv(X.shape, W.shape, padding="same"), Window.depthwise(X.shape, D.shape, padding="same")
POOL, STRIDED = Window.pool(X.shape, 3, 1, padding=1), Window.conv(X.shape, (1, 1, 4, 4), stride=2)
LABELS = np.zeros((1, 6, 6), np.uint8)

C, UNKNOWN = np.ones(4, np.float32), "unknown activation 'swish'; there are None, 'relu', 'relu6', 'hardswish', "

CALLS = {  # name: (call, error, message)
    "dense window, depthwise op": (
        lambda k: k.depthwise_conv2d(X, D, DENSE),
        ValueError,
        "made for conv2d; .*depthwise",
    ),
    "depthwise window, dense op": (
        lambda k: k.conv2d_grad_input(X, W, DEPTHWISE),
        ValueError,
        "made for depthwise_conv2d",
    ),
    "dense window, pooling": (lambda k: k.max_pool2d(X, DENSE), ValueError, "pool: the window was made for conv2d"),
    "pooling window, dense op": (
        lambda k: k.conv2d_grad_weight(X, X, POOL),
        ValueError,
        "made for pool; .*Window.conv",
    ),
    "strided pointwise": (
        lambda k: k.pointwise(X, W[:1, :1], STRIDED),
        ValueError,
        "pointwise: the window must be 1x1",
    ),
    "3x3 pointwise": (lambda k: k.pointwise_grad_input(X, W, DENSE), ValueError, "pointwise: the window must be 1x1"),
    "activation": (lambda k: k.activate_grad(G, X, "relu"), ValueError, "activate: shapes must agree"),
    "unknown activation": (lambda k: k.activate(X, "swish"), ValueError, f"activate: {UNKNOWN}"),
    "gradient of an unknown activation": (lambda k: k.activate_grad(X, X, "swish"), ValueError, f"activate: {UNKNOWN}"),
    "batch norm's unknown activation": (
        lambda k: k.batch_norm(X, C, C, C, C, 1e-5, "swish"),
        ValueError,
        f"batch_norm: {UNKNOWN}",
    ),
    "gradient of batch norm's unknown activation": (
        lambda k: k.batch_norm_grad(X, X, C, C, C, C, 1e-5, "swish", True),
        ValueError,
        f"batch_norm: {UNKNOWN}",
    ),
    "sums of an unknown activation": (
        lambda k: k.batch_norm_grad_sums(X, X, C, C, C, C, 1e-5, "swish"),
        ValueError,
        f"batch_norm: {UNKNOWN}",
    ),
    "gradient by sums of an unknown activation": (
        lambda k: k.batch_norm_grad_input(X, X, C, C, C, C, 1e-5, "swish", np.ones((2, 4)), 36),
        ValueError,
        f"batch_norm: {UNKNOWN}",
    ),
    "softmax": (lambda k: k.softmax_grad(G, X), ValueError, "softmax: shapes must agree"),
    "log-softmax": (lambda k: k.log_softmax_grad(G, X), ValueError, "log_softmax: shapes must agree"),
    "log normaliser": (
        lambda k: k.cross_entropy_grad(X, LABELS, np.zeros((1, 3, 3), np.float32), 36.0, None, 255, 1.0),
        ValueError,
        "log_normaliser must have shape",
    ),
    "argmax dtype": (lambda k: k.max_pool2d_grad(X, X, POOL), TypeError, "argmax must be int32"),
    "nearest to nothing": (lambda k: k.resize_nearest_grad(G, 0, 3), ValueError, "sizes must be >= 1"),
    "running statistics": (
        lambda k: k.update_running(np.ones(4), np.ones(4), np.ones(1), np.ones(1), 0.1, 9),
        ValueError,
        "shapes must agree",
    ),
    "no variance": (lambda k: k.update_running(*(np.ones(4) for _ in range(4)), 0.1, 1), ValueError, "no variance"),
    "concat of vectors": (lambda k: k.concat([np.ones(3), np.ones(3)]), ValueError, "four axes"),
}


@pytest.mark.parametrize("wrong", ["swish", True, ["relu"], np.ones(2)])
def test_shapes_know_the_names_of_activations_too(wrong):
    k = kernels.load("shapes")
    x, channels = k.empty((1, 4, 4, 3)), k.empty((3,))
    win = Window.conv(x.shape, (1, 1, 3, 3))
    for call in (
        lambda: k.activate(x, wrong),
        lambda: k.batch_norm(x, *[channels] * 4, 1e-5, wrong),
        lambda: k.conv2d(x, k.empty(win.w_shape), win, channels, channels, wrong),
    ):
        with pytest.raises(ValueError, match="unknown activation"):
            call()


@each_backend
@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_fit_is_refused(k, name):
    call, error, message = CALLS[name]
    with pytest.raises(error, match=message):
        call(k)
