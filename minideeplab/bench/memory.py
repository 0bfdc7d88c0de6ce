"""Suite memory: kernels that move more than they compute, against a copy of the same size."""

import numpy as np

import kernels
from kernels.geometry import Window
from minideeplab.bench.timing import copy_bandwidth, feature_maps, spread, timings

SHAPE = (2, 129, 129, 128)  # 17 MB: a decoder's features
CLASSES = 21
PARAMETERS = 1 << 22


def cases(device):
    """(name, function, bytes that it must read and write) of each kernel."""
    k, (n, h, w, c) = kernels.load(device), SHAPE
    generator = np.random.default_rng(0)

    def normal(*shape):
        return k.copy(kernels.to_device(generator.standard_normal(shape, np.float32), device))

    x, grad, small = feature_maps(device, SHAPE, SHAPE, (n, 65, 65, c))
    mean, gamma, beta = normal(c), normal(c), normal(c)
    var, size = k.full((c,), 1.5), x.nbytes
    pool = Window.pool(SHAPE, 3, 2, padding=1, ceil_mode=False)
    pooled, argmax = k.max_pool2d(x, pool)
    of_pool = size + pooled.nbytes + argmax.nbytes
    logits, labels = normal(n, h, w, CLASSES), generator.integers(0, CLASSES, (n, h, w), np.uint8)
    labels = kernels.to_device(labels, device)
    large = 4 * h - 3, 4 * w - 3
    large_labels = kernels.to_device(generator.integers(0, CLASSES, (n, *large), np.uint8), device)
    read = logits.nbytes + large_labels.nbytes
    _, weight, log_normaliser = k.cross_entropy(logits, labels, None, 255)
    parameter, velocity, step = (normal(PARAMETERS) for _ in range(3))
    return (
        ("relu", lambda: k.activate(x, "relu"), 2 * size),
        ("relu_grad", lambda: k.activate_grad(grad, x, "relu"), 3 * size),
        ("add", lambda: k.add(x, grad), 3 * size),
        ("dropout", lambda: k.dropout(x, 0.1, 7), 2 * size),
        ("batch_norm_statistics", lambda: k.batch_norm_statistics(x), size),
        ("batch_norm + relu", lambda: k.batch_norm(x, mean, var, gamma, beta, 1e-5, "relu"), 2 * size),
        (
            "batch_norm_grad + relu",
            lambda: k.batch_norm_grad(grad, x, mean, var, gamma, beta, 1e-5, "relu", True),
            5 * size,
        ),
        ("max_pool2d 3x3 s2", lambda: k.max_pool2d(x, pool), of_pool),
        (
            "max_pool2d_grad 3x3 s2",
            lambda: k.max_pool2d_grad(pooled, argmax, pool),
            of_pool,
        ),
        ("global average pool", lambda: k.adaptive_average_pool2d(x, 1, 1), size),
        ("resize_bilinear 65 -> 129", lambda: k.resize_bilinear(small, h, w, True), size + small.nbytes),
        ("resize_bilinear_grad", lambda: k.resize_bilinear_grad(grad, 65, 65, True), size + small.nbytes),
        ("concat", lambda: k.concat([x, grad]), 4 * size),
        ("split", lambda: k.split(x, (c // 4, c - c // 4)), 2 * size),
        ("cross_entropy", lambda: k.cross_entropy(logits, labels, None, 255), logits.nbytes),
        ("cross_entropy, enlarged", lambda: k.cross_entropy(logits, large_labels, None, 255, large), read),
        (
            "cross_entropy_grad",
            lambda: k.cross_entropy_grad(logits, labels, log_normaliser, weight, None, 255, 1.0),
            2 * logits.nbytes,
        ),
        ("sgd_update", lambda: k.sgd_update([parameter], [velocity], [step], 1e-9, 0.9, [1e-4]), 5 * parameter.nbytes),
    )


def run(torch, repeats, device="cpu"):
    """A row for each kernel: time, bytes a second, and the fraction of what a copy of SHAPE reaches."""
    copy, rows = copy_bandwidth(device, int(np.prod(SHAPE))), []
    print(f"bound: {copy:.1f} GB/s, a copy of {SHAPE}; {kernels.num_threads()} threads")
    print(f"{'kernel':26s} {'ms':>8s} {'spread':>7s} {'GB/s':>8s} {'of copy':>8s}")
    for name, function, size in cases(device):
        (seconds,) = timings([function], repeats, device)
        middle = float(np.median(seconds))
        row = {"kernel": name, "ms": middle * 1e3, "spread": spread(seconds), "gbytes": size / middle / 1e9}
        row["of_copy"] = row["gbytes"] / copy
        rows.append(row)
        print(
            f"{name:26s} {row['ms']:8.3f} {row['spread']:7.0%} {row['gbytes']:8.1f} {row['of_copy']:8.2f}", flush=True
        )
    return {"copy_gbytes": copy, "threads": kernels.num_threads(), "rows": rows}
