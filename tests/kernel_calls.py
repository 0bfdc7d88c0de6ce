"""One call of every kernel, large enough that threads share it and that buffers of large arrays are pooled."""

import functools
import sys

import numpy as np
from strategies import normal

from kernels.activation import ACTIVATIONS
from kernels.bfloat16 import BFLOAT16, narrow, sum_dtype
from kernels.geometry import Window

SHAPE = (2, 66, 61, 36)  # 1.1 MiB in float32; no size is a multiple of a vector, a tile or the number of threads


def calls(k, dtype=np.float32):
    """name -> function of no arguments that runs the kernel `name` of backend k and returns its results.

    The inputs are fixed; the results are a tuple of arrays and floats. Every name of kernels.CONTRACT but those of
    "arrays" is there. With BFLOAT16 it is feature maps that have this dtype, where a kernel takes it.
    """
    n, h, w, c = SHAPE
    halves, wide = dtype == BFLOAT16, sum_dtype(dtype)

    def maps(seed, *shapes):
        """Feature maps of the dtype."""
        arrays = normal(seed, *shapes, dtype=wide)
        arrays = arrays if len(shapes) > 1 else [arrays]
        arrays = [narrow(a) if halves else a for a in arrays]
        return arrays if len(shapes) > 1 else arrays[0]

    numbers, other_numbers, grad_numbers = normal(1, SHAPE, SHAPE, SHAPE, dtype=wide)
    x, other, grad = maps(1, SHAPE, SHAPE, SHAPE)
    gate = maps(7, (n, 1, 1, c))
    mean, gamma, beta = normal(2, c, c, c, dtype=wide)
    sums = normal(6, (2, c), dtype=np.float64) * (n * h * w)  # as large as those of as many numbers
    var, labels = mean**2 + 1, (abs(numbers[..., 0]) * 10).astype(np.uint8) % c
    labels[:, 3:9] = 255
    softmax, log_sum = k.softmax(numbers), k.cross_entropy(numbers, labels, var, 255)[2]
    halved, small = x[:, ::2, ::2], numbers[:, :17, :20]
    dense = Window.conv(SHAPE, (3, 3, c, 40), stride=(1, 2), rate=(2, 3), padding=((3, 1), (0, 5)))
    stem = Window.conv((*SHAPE[:3], 3), (7, 7, 3, 40), stride=2)
    strided = Window.conv(SHAPE, (1, 1, c, 21), stride=2)
    deep = Window.depthwise(SHAPE, (3, 3, c), stride=(2, 1), rate=2, padding="same")
    even = Window.depthwise(SHAPE, (3, 3, c), rate=2, padding="same")
    point = Window.conv(SHAPE, (1, 1, c, 40))
    squares = Window.conv((1, 45, 47, 128), (3, 3, 128, 144), rate=2, padding="same")
    wide_point = Window.conv((2, 83, 81, 100), (1, 1, 100, 130))
    pool = Window.pool(SHAPE, 3, 2, padding=1, ceil_mode=True)
    argmax, bins = k.max_pool2d(x, pool)[1], k.adaptive_max_pool2d(x, 6, 5)[1]
    pooled, binned = maps(3, pool.y_shape, bins.shape)
    table = {}
    for op, windows in (
        ("conv2d", (dense, stem, strided)), ("depthwise_conv2d", (deep, even)), ("pointwise", (point,))
    ):  # fmt: skip
        problems = [
            (x[..., : win.c_in], normal(4, win.w_shape, dtype=wide), maps(5, win.y_shape), win) for win in windows
        ]
        if op != "depthwise_conv2d":  # and where the CPU takes fewer multiplications, or slices
            win = squares if op == "conv2d" else wide_point
            problems.append((maps(4, win.x_shape), normal(4, win.w_shape, dtype=wide), maps(5, win.y_shape), win))
        table[op] = functools.partial(_each, getattr(k, op), problems, "x w")
        table[f"{op}_grad_input"] = functools.partial(_each, getattr(k, f"{op}_grad_input"), problems, "g w")
        table[f"{op}_grad_weight"] = functools.partial(_each, getattr(k, f"{op}_grad_weight"), problems, "x g")

    def in_place(function, n_changed, *arguments):
        """What `function` makes of copies of its first arguments."""
        changed = [a.copy() for a in arguments[:n_changed]]
        function(*changed, *arguments[n_changed:])
        return changed

    def sgd_update(k, params, velocities, grads):
        params, velocities = [a.copy() for a in params], [a.copy() for a in velocities]
        k.sgd_update(params, velocities, grads, 0.1, 0.9, [1e-4, 0.0])
        return *params, *velocities

    table |= {
        "add": lambda: (k.add(x, other), k.add(x, gamma)),
        "multiply": lambda: (k.multiply(x, mean), k.multiply(x, other), k.multiply(gate, x)),
        "expand": lambda: k.expand(mean, SHAPE),
        "sum_to": lambda: (k.sum_to(x, (c,)), k.sum_to(x, ()), k.sum_to(x, (n, 1, 1, c))),
        "activate": lambda: [k.activate(x, name) for name in ACTIVATIONS],
        "activate_grad": lambda: [k.activate_grad(grad, x, name) for name in ACTIVATIONS],
        "dropout": lambda: k.dropout(x, 0.3, 7),
        "max_pool2d": lambda: k.max_pool2d(x, pool),
        "max_pool2d_grad": lambda: k.max_pool2d_grad(pooled, argmax, pool),
        "average_pool2d": lambda: k.average_pool2d(x, pool),
        "average_pool2d_grad": lambda: k.average_pool2d_grad(pooled, pool),
        "adaptive_average_pool2d": lambda: (k.adaptive_average_pool2d(x, 6, 5), k.adaptive_average_pool2d(x, 1, 1)),
        "adaptive_average_pool2d_grad": lambda: k.adaptive_average_pool2d_grad(binned, h, w),
        "adaptive_max_pool2d": lambda: k.adaptive_max_pool2d(x, 6, 5),
        "adaptive_max_pool2d_grad": lambda: k.adaptive_max_pool2d_grad(binned, bins, h, w),
        "resize_bilinear": lambda: (k.resize_bilinear(x, 40, 99, True), k.resize_bilinear(x, 131, 30, False)),
        "resize_bilinear_grad": lambda: (k.resize_bilinear_grad(x, 9, 8, True), k.resize_bilinear_grad(x, 9, 9, False)),
        "resize_nearest": lambda: k.resize_nearest(x, 131, 90),
        "resize_nearest_grad": lambda: k.resize_nearest_grad(x, 81, 50),
        "pad": lambda: k.pad(x, 1, 2, 3, 4, 0.5),
        "crop": lambda: k.crop(x, 1, 2, 60, 50),
        "concat": lambda: k.concat([x, x[..., :5]]),
        "split": lambda: k.split(x, (7, 29)),
        "batch_norm_statistics": lambda: k.batch_norm_statistics(x),
        "batch_norm": lambda: (
            k.batch_norm(x, mean, var, gamma, beta, 1e-5, "relu"),
            k.batch_norm(x, mean, var, gamma, beta, 1e-5, "hardswish", other),
            k.batch_norm(x, mean, var, gamma, beta, 1e-5, "sigmoid"),
        ),
        "batch_norm_factors": lambda: k.batch_norm_factors(mean, var, gamma, beta, 1e-5),
        "batch_norm_grad": lambda: (
            *k.batch_norm_grad(grad, x, mean, var, gamma, beta, 1e-5, "relu", True),
            *k.batch_norm_grad(grad, x, mean, var, gamma, beta, 1e-5, "hardswish", False),
        ),
        "batch_norm_grad_sums": lambda: (
            k.batch_norm_grad_sums(grad, x, mean, var, gamma, beta, 1e-5, "relu6"),
            k.batch_norm_grad_sums(grad, x, mean, var, gamma, beta, 1e-5, "hardswish"),
        ),
        "batch_norm_grad_input": lambda: (
            k.batch_norm_grad_input(grad, x, mean, var, gamma, beta, 1e-5, "relu6", sums, 2 * n * h * w),
            k.batch_norm_grad_input(grad, x, mean, var, gamma, beta, 1e-5, "hardswish", sums, 0),
        ),
        "update_running": lambda: in_place(k.update_running, 2, mean, var, gamma, var, 0.1, n * h * w),
        "argmax": lambda: k.argmax(halved),
        "softmax": lambda: k.softmax(numbers[:, ::2, ::2]),
        "softmax_grad": lambda: k.softmax_grad(grad_numbers, softmax),
        "log_softmax": lambda: k.log_softmax(numbers),
        "log_softmax_grad": lambda: k.log_softmax_grad(grad_numbers, other_numbers),
        "cross_entropy": lambda: (
            *k.cross_entropy(numbers, labels, var, 255), *k.cross_entropy(small, labels, None, 255, (66, 77))
        ),
        "cross_entropy_grad": lambda: (
            k.cross_entropy_grad(numbers, labels, log_sum, 1000.0, var, 255, 1.0),
            k.cross_entropy_grad(small, labels, log_sum, 1000.0, None, 255, 1.0, (66, 77)),
        ),
        "confusion_matrix": lambda: k.confusion_matrix(labels, labels[:, ::-1] % c, c, 255),
        "sgd_update": lambda: sgd_update(k, [numbers, mean], [other_numbers, gamma], [grad_numbers, beta]),
    }  # fmt: skip

    if getattr(k, "backend", k) is not sys.modules.get("kernels.cuda"):  # which has no bfloat16
        table |= {
            "to_bfloat16": lambda: k.to_bfloat16(numbers.astype(np.float32)),
            "to_float32": lambda: k.to_float32(narrow(numbers)),
        }
    if hasattr(k, "build_lattice"):
        table |= _lattice_calls(k, numbers, wide)

    def as_tuple(call):
        result = call()
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    return {name: functools.partial(as_tuple, call) for name, call in table.items()}


def _lattice_calls(k, x, dtype):
    """The same for the functions of a dense CRF, on the pixels of one image and 36 labels."""
    _, h, w, c = SHAPE
    y, column = np.mgrid[:h, :w].reshape(2, -1)
    place = np.stack([column, y], axis=1).astype(dtype) / 3
    lattices = [k.build_lattice(place), k.build_lattice(np.concatenate([place / 4, x[0, ..., :3].reshape(-1, 3)], 1))]
    factors = normal(5, h * w, h * w, dtype=dtype)
    lattice, values, unary = k.join_lattices(lattices, factors, [0.5, 2.0]), x[0].reshape(-1, c), x[1].reshape(-1, c)
    vertices = k.blur(lattice, k.splat(lattice, values))

    def arrays(lattice):
        return *lattice[:5], *lattice.neighbours

    def mean_field_update():
        q, narrow = k.softmax(values), k.softmax(values[:, :3])
        change = k.mean_field_update(lattice, vertices, unary, values, q, 0.25)
        return q, change, k.mean_field_update(None, None, unary[:, :3].copy(), None, narrow), narrow

    return {
        "build_lattice": lambda: arrays(lattices[1]),
        "join_lattices": lambda: arrays(lattice),
        "splat": lambda: (k.splat(lattice, values), k.splat(lattice, values[:, :2])),
        "blur": lambda: (k.blur(lattice, vertices), k.blur(lattice, vertices, True)),
        "slice_lattice": lambda: (k.slice_lattice(lattice, vertices), k.slice_lattice(lattice, vertices[:, :2])),
        "mean_field_update": mean_field_update,
    }


def _each(function, problems, which):
    """function on the two arrays that `which` names, of every (x, w, g, window)."""
    results = []
    for x, w, g, win in problems:
        arrays = {"x": x, "w": w, "g": g}
        results.append(function(*(arrays[name] for name in which.split()), win))
    return results
