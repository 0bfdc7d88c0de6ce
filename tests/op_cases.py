"""A case for every op: small inputs on which all of its derivative can be checked, on any device."""

import numpy as np

import kernels
from minideeplab import ops

LABELS = np.array([[[0, 2, 255], [1, 1, 0]], [[255, 2, 2], [0, 255, 1]]], np.uint8)


def spaced(*shape, seed=0):
    """A permutation of evenly spaced numbers, none of them zero: ReLU and max pooling are far from their kinks."""
    size = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(size) - size // 2 + 0.25).reshape(shape) * (4 / size)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def convolution(op, x_shape, w_shape, **options):
    return lambda x, w: op(x, w, **options), (normal(*x_shape), normal(*w_shape, seed=1))


def unary(op, *shape, **options):
    return lambda x: op(x, **options), (spaced(*shape),)


def batch_norm(*shape, **options):
    def function(x, gamma, beta, residual=None):
        # fresh running statistics: the op updates them in place, and a checked function must always do the same
        mean, var = np.linspace(-0.5, 0.5, shape[-1]), np.linspace(0.5, 2, shape[-1])
        running = (kernels.to_device(a.astype(x.dtype), x.device) for a in (mean, var))
        return ops.batch_norm(x, gamma, beta, *running, residual=residual, **options)

    return function, (normal(*shape), normal(shape[-1], seed=1) + 2, normal(shape[-1], seed=2))


def batch_norm_with_residual(*shape, **options):
    function, arrays = batch_norm(*shape, **options)
    return function, (*arrays, normal(*shape, seed=3))


def conv2d_of_batch_norm(*shape, columns, **options):
    _, (x, gamma, beta) = batch_norm(*shape)

    def convolved(x, gamma, beta, w):
        mean, var = np.linspace(-0.5, 0.5, shape[-1]), np.linspace(0.5, 2, shape[-1])
        running = (kernels.to_device(a.astype(x.dtype), x.device) for a in (mean, var))
        return ops.conv2d_of_batch_norm(x, gamma, beta, w, *running, **options)

    return convolved, (x, gamma, beta, normal(1, 1, shape[-1], columns, seed=3))


def cross_entropy(labels, weights=None, **options):
    def function(logits):
        given = None if weights is None else kernels.to_device(np.array(weights, logits.dtype), logits.device)
        return ops.cross_entropy(logits, kernels.to_device(labels, logits.device), class_weights=given, **options)

    shape = labels.shape if "size" not in options else (len(labels), 2, 3)
    return function, (normal(*shape, 3),)


CASES = {  # name: (op, (function, arrays))
    "add": (ops.Add, (ops.add, (normal(2, 3, 4), normal(2, 3, 4, seed=1)))),
    "add bias": (ops.Add, (ops.add, (normal(2, 3, 2, 4), normal(4, seed=1)))),
    "add image": (ops.Add, (ops.add, (normal(2, 1, 1, 3), normal(2, 2, 4, 3, seed=1)))),
    "add both ways": (ops.Add, (ops.add, (normal(3, 1), normal(1, 4, seed=1)))),
    "add scalar": (ops.Add, (ops.add, (normal(), normal(2, 3, seed=1)))),
    "multiply": (ops.Multiply, (ops.multiply, (normal(2, 3, 4), normal(2, 3, 4, seed=1)))),
    "multiply gate": (ops.Multiply, (ops.multiply, (normal(2, 3, 2, 4), normal(2, 1, 1, 4, seed=1)))),
    "multiply both ways": (ops.Multiply, (ops.multiply, (normal(3, 1), normal(1, 4, seed=1)))),
    "multiply scalar": (ops.Multiply, (ops.multiply, (normal(2, 3), normal(seed=1)))),
    "sum": (ops.Sum, unary(ops.sum, 2, 3, 4)),
    "relu": (ops.Activate, unary(ops.relu, 2, 3, 4, 5)),
    "relu6": (ops.Activate, (lambda x: ops.activate(x, "relu6"), (4 * spaced(2, 3, 4, 5),))),
    "hardswish": (ops.Activate, (lambda x: ops.activate(x, "hardswish"), (4 * spaced(2, 3, 4, 5),))),
    "hardsigmoid": (ops.Activate, (lambda x: ops.activate(x, "hardsigmoid"), (4 * spaced(2, 3, 4, 5),))),
    "sigmoid": (ops.Activate, (lambda x: ops.activate(x, "sigmoid"), (normal(2, 3, 4, 5),))),
    "dropout": (ops.Dropout, unary(ops.dropout, 2, 3, 4, 5, rate=0.4, seed=7)),
    "conv 3x3": (ops.Conv2d, convolution(ops.conv2d, (2, 5, 4, 3), (3, 3, 3, 2))),
    "conv 1x1": (ops.Conv2d, convolution(ops.conv2d, (2, 3, 4, 3), (1, 1, 3, 4))),
    "conv stride": (ops.Conv2d, convolution(ops.conv2d, (1, 6, 5, 2), (3, 3, 2, 3), stride=2)),
    "conv 1x1 stride": (ops.Conv2d, convolution(ops.conv2d, (1, 5, 6, 2), (1, 1, 2, 3), stride=2)),
    "conv rate": (ops.Conv2d, convolution(ops.conv2d, (1, 6, 7, 2), (3, 3, 2, 2), rate=2)),
    "conv rate beyond the image": (ops.Conv2d, convolution(ops.conv2d, (1, 4, 3, 2), (3, 3, 2, 2), rate=6)),
    "conv pairs": (
        ops.Conv2d,
        convolution(ops.conv2d, (1, 7, 6, 2), (2, 3, 2, 2), stride=(2, 1), rate=(1, 2), padding=1),
    ),
    "conv valid": (ops.Conv2d, convolution(ops.conv2d, (1, 5, 5, 2), (3, 2, 2, 2), padding=0)),
    "conv sides": (ops.Conv2d, convolution(ops.conv2d, (1, 4, 5, 2), (3, 3, 2, 2), stride=2, padding=((0, 2), (1, 0)))),
    "depthwise 3x3": (ops.DepthwiseConv2d, convolution(ops.depthwise_conv2d, (2, 4, 5, 3), (3, 3, 3))),
    "depthwise stride": (ops.DepthwiseConv2d, convolution(ops.depthwise_conv2d, (1, 6, 5, 3), (3, 3, 3), stride=2)),
    "depthwise rate": (ops.DepthwiseConv2d, convolution(ops.depthwise_conv2d, (1, 6, 5, 3), (3, 3, 3), rate=2)),
    "depthwise pairs": (
        ops.DepthwiseConv2d,
        convolution(
            ops.depthwise_conv2d, (1, 7, 6, 2), (3, 2, 2), stride=(1, 2), rate=(2, 1), padding=((0, 2), (1, 0))
        ),
    ),
    "max pool": (ops.MaxPool2d, unary(ops.max_pool2d, 2, 4, 6, 2, size=2)),
    "max pool stem": (ops.MaxPool2d, unary(ops.max_pool2d, 1, 7, 6, 2, size=3, stride=2, padding=1)),
    "max pool ceil": (ops.MaxPool2d, unary(ops.max_pool2d, 1, 6, 5, 2, size=(3, 2), stride=2, ceil_mode=True)),
    "average pool": (ops.AveragePool2d, unary(ops.average_pool2d, 2, 4, 6, 2, size=2)),
    "average pool border": (ops.AveragePool2d, unary(ops.average_pool2d, 1, 5, 6, 2, size=3, stride=1, padding=1)),
    "average pool ceil": (
        ops.AveragePool2d,
        unary(ops.average_pool2d, 1, 6, 5, 2, size=(3, 2), stride=2, ceil_mode=True),
    ),
    "adaptive average": (ops.AdaptiveAveragePool2d, unary(ops.adaptive_average_pool2d, 2, 5, 7, 2, out_h=2, out_w=3)),
    "adaptive average enlarges": (
        ops.AdaptiveAveragePool2d,
        unary(ops.adaptive_average_pool2d, 1, 2, 3, 2, out_h=3, out_w=4),
    ),
    "global average": (ops.AdaptiveAveragePool2d, unary(ops.global_average_pool, 2, 3, 4, 2)),
    "adaptive max": (ops.AdaptiveMaxPool2d, unary(ops.adaptive_max_pool2d, 2, 5, 7, 2, out_h=2, out_w=3)),
    "transposed convolution": (
        ops.ConvTranspose2d,
        convolution(ops.conv_transpose2d, (2, 3, 4, 3), (4, 4, 2, 3), stride=2),
    ),
    "transposed convolution padded": (
        ops.ConvTranspose2d,
        convolution(ops.conv_transpose2d, (1, 3, 3, 2), (3, 3, 3, 2), stride=2, padding=1),
    ),
    "transposed convolution pairs": (
        ops.ConvTranspose2d,
        convolution(
            ops.conv_transpose2d, (1, 3, 2, 2), (2, 3, 3, 2), stride=(2, 3), padding=(1, 0), output_padding=(0, 2)
        ),
    ),
    "transposed convolution rate": (
        ops.ConvTranspose2d,
        convolution(ops.conv_transpose2d, (1, 3, 3, 2), (3, 2, 3, 2), padding=((2, 1), (0, 1)), rate=(2, 3)),
    ),
    "transposed convolution same": (
        ops.ConvTranspose2d,
        convolution(ops.conv_transpose2d, (1, 3, 4, 2), (3, 3, 3, 2), stride=2, padding="same", output_padding=1),
    ),
    "max unpool": (
        ops.MaxUnpool2d,
        (lambda x: ops.max_unpool2d(*ops.max_pool2d_with_indices(x, 2)), (spaced(2, 4, 6, 2),)),
    ),
    "bilinear up aligned": (ops.ResizeBilinear, unary(ops.resize_bilinear, 2, 3, 4, 2, out_h=5, out_w=7)),
    "bilinear up": (ops.ResizeBilinear, unary(ops.resize_bilinear, 2, 3, 4, 2, out_h=5, out_w=7, align_corners=False)),
    "bilinear down aligned": (ops.ResizeBilinear, unary(ops.resize_bilinear, 1, 7, 6, 2, out_h=3, out_w=4)),
    "bilinear down": (
        ops.ResizeBilinear,
        unary(ops.resize_bilinear, 1, 7, 6, 2, out_h=3, out_w=4, align_corners=False),
    ),
    "bilinear from one pixel": (ops.ResizeBilinear, unary(ops.resize_bilinear, 2, 1, 1, 3, out_h=3, out_w=4)),
    "bilinear to one pixel": (ops.ResizeBilinear, unary(ops.resize_bilinear, 1, 3, 4, 2, out_h=1, out_w=1)),
    "nearest up": (ops.ResizeNearest, unary(ops.resize_nearest, 2, 3, 4, 2, out_h=5, out_w=7)),
    "nearest down": (ops.ResizeNearest, unary(ops.resize_nearest, 1, 7, 6, 2, out_h=3, out_w=4)),
    "pad": (ops.Pad, unary(ops.pad, 2, 3, 4, 2, top=1, bottom=2, left=0, right=3)),
    "crop": (ops.Crop, unary(ops.crop, 2, 5, 6, 2, top=1, left=2, height=3, width=2)),
    "concat": (
        ops.Concat,
        (lambda *t: ops.concat(t), (normal(2, 2, 3, 1), normal(2, 2, 3, 4, seed=1), normal(2, 2, 3, 2, seed=2))),
    ),
    "batch norm": (ops.BatchNorm, batch_norm(2, 3, 4, 3)),
    "batch norm relu": (ops.BatchNorm, batch_norm(2, 3, 4, 3, activation="relu")),
    "batch norm relu6": (ops.BatchNorm, batch_norm(2, 3, 4, 3, activation="relu6")),
    "batch norm hardswish": (ops.BatchNorm, batch_norm(2, 3, 4, 3, activation="hardswish")),
    "batch norm inference hardswish": (ops.BatchNorm, batch_norm(2, 3, 4, 3, training=False, activation="hardswish")),
    "batch norm hardsigmoid": (ops.BatchNorm, batch_norm(2, 3, 4, 3, activation="hardsigmoid")),
    "batch norm sigmoid": (ops.BatchNorm, batch_norm(2, 3, 4, 3, activation="sigmoid")),
    "batch norm residual sigmoid": (ops.BatchNorm, batch_norm_with_residual(2, 3, 4, 3, activation="sigmoid")),
    "batch norm residual relu6": (ops.BatchNorm, batch_norm_with_residual(2, 3, 4, 3, activation="relu6")),
    "batch norm residual hardswish": (ops.BatchNorm, batch_norm_with_residual(2, 3, 4, 3, activation="hardswish")),
    "batch norm large eps": (ops.BatchNorm, batch_norm(2, 2, 3, 2, eps=0.5)),
    "batch norm inference": (ops.BatchNorm, batch_norm(2, 3, 4, 3, training=False)),
    "batch norm inference relu": (ops.BatchNorm, batch_norm(2, 3, 4, 3, training=False, activation="relu")),
    "batch norm residual": (ops.BatchNorm, batch_norm_with_residual(2, 3, 4, 3)),
    "batch norm residual relu": (ops.BatchNorm, batch_norm_with_residual(2, 3, 4, 3, activation="relu")),
    "batch norm residual inference": (
        ops.BatchNorm,
        batch_norm_with_residual(2, 3, 4, 3, activation="relu", training=False),
    ),
    "batch norm one value": (ops.BatchNorm, batch_norm(1, 1, 1, 5, activation="relu")),
    "conv of batch norm": (ops.Conv2dOfBatchNorm, conv2d_of_batch_norm(2, 3, 4, 3, columns=5)),
    "conv of batch norm relu": (ops.Conv2dOfBatchNorm, conv2d_of_batch_norm(2, 3, 4, 3, columns=2, activation="relu")),
    "conv of batch norm inference": (
        ops.Conv2dOfBatchNorm,
        conv2d_of_batch_norm(2, 3, 4, 3, columns=2, training=False, activation="hardswish"),
    ),
    "conv of batch norm one value": (ops.Conv2dOfBatchNorm, conv2d_of_batch_norm(1, 1, 1, 5, columns=2)),
    "softmax": (ops.Softmax, unary(ops.softmax, 2, 2, 3, 5)),
    "log softmax": (ops.LogSoftmax, unary(ops.log_softmax, 2, 2, 3, 5)),
    "cross entropy": (ops.CrossEntropy, cross_entropy(LABELS % 255)),
    "cross entropy void": (ops.CrossEntropy, cross_entropy(LABELS)),
    "cross entropy other void": (ops.CrossEntropy, cross_entropy(LABELS.astype(np.int64) % 255, ignore_index=0)),
    "cross entropy weights": (ops.CrossEntropy, cross_entropy(LABELS, weights=[0.5, 2.0, 3.0])),
    "cross entropy enlarged": (ops.CrossEntropy, cross_entropy(LABELS, weights=[0.5, 2.0, 3.0], size=(9, 8))),
    "cross entropy weight zero": (ops.CrossEntropy, cross_entropy(LABELS, weights=[0.0, 2.0, 1.0])),
}
