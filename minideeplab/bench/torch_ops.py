"""The models of this project run by PyTorch, for comparison: the same `forward`, with other functions under it.

In inference this engine folds batch norm, shortcut and ReLU into its convolutions; PyTorch runs them one after the
other here, as its users do unless they rewrite their model.

`on_torch(model, layout)` makes a twin of a model whose parameters are PyTorch's; inside `torch_ops()` the names in
`minideeplab.ops` and `nn.losses` mean the functions below. Tensors keep the project's axes (N, H, W, C) as views of
memory in PyTorch's own layouts, so that nothing is transposed.
"""

import contextlib
import copy

import torch
from torch.nn import functional

from minideeplab.autograd import ops
from minideeplab.nn import Buffer, Parameter, losses


def on_torch(model, channels_last, device="cpu"):
    """A copy of a model with PyTorch parameters and buffers on a device, in one of PyTorch's two memory formats."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    twin = copy.deepcopy(model)
    twin.torch_parameters = parameters = []
    for _, module in twin.named_modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Parameter):
                data = torch.from_numpy(value.data)
                if data.ndim == 3:  # depthwise (KH, KW, C) -> (C, 1, KH, KW)
                    data = data.permute(2, 0, 1)[:, None]
                elif data.ndim == 4:
                    data = data.permute(3, 2, 0, 1)
                data = data.contiguous(memory_format=layout) if data.ndim == 4 else data.clone()
                data = data.to(device)
                parameters.append(torch.nn.Parameter(data))
                setattr(module, name, parameters[-1])
            elif isinstance(value, Buffer):
                setattr(module, name, torch.from_numpy(value.data).clone().to(device))
    return twin


def images(array, channels_last):
    """(N, H, W, C) NumPy array -> tensor with the same axes, in one of PyTorch's memory formats."""
    tensor = torch.from_numpy(array)
    return tensor if channels_last else _nhwc(_nchw(tensor).contiguous())


@contextlib.contextmanager
def torch_ops():
    """Inside, `minideeplab.ops` and `nn.losses` compute with PyTorch."""
    places = [(module, name) for module, names in ((ops, _OPS), (losses, _LOSSES)) for name in names]
    ours = [getattr(module, name) for module, name in places]
    try:
        for (module, name), function in zip(places, [*_OPS.values(), *_LOSSES.values()], strict=True):
            setattr(module, name, function)
        yield
    finally:
        for (module, name), function in zip(places, ours, strict=True):
            setattr(module, name, function)


def _nchw(x):
    return x.permute(0, 3, 1, 2)


def _nhwc(x):
    return x.permute(0, 2, 3, 1)


def _same(w, rate):
    return [rate * (k - 1) // 2 for k in w.shape[2:]]


def conv2d(x, w, stride=1, rate=1, padding="same"):
    return _nhwc(functional.conv2d(_nchw(x), w, None, stride, _same(w, rate), rate))


def depthwise_conv2d(x, w, stride=1, rate=1, padding="same"):
    return _nhwc(functional.conv2d(_nchw(x), w, None, stride, _same(w, rate), rate, groups=len(w)))


_ACTIVATIONS = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "sigmoid": lambda v, inplace=False: v.sigmoid_() if inplace else v.sigmoid(),
}


def activate(x, activation):
    return _ACTIVATIONS[activation](x) if activation else x


def batch_norm(
    x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5, activation=None, training=True, residual=None,
    group=None,
):  # fmt: skip
    training = training and x[..., 0].numel() > 1
    y = functional.batch_norm(_nchw(x), running_mean, running_var, gamma, beta, training, momentum, eps)
    y = y if residual is None else y + _nchw(residual)
    return _nhwc(_ACTIVATIONS[activation](y, inplace=True) if activation else y)


def conv2d_of_batch_norm(x, gamma, beta, w, *options, group=None):
    return conv2d(batch_norm(x, gamma, beta, *options), w)


def max_pool2d(x, size, stride=None, padding=0, ceil_mode=False):
    return _nhwc(functional.max_pool2d(_nchw(x), size, stride, padding, 1, ceil_mode))


def global_average_pool(x):
    return _nhwc(functional.adaptive_avg_pool2d(_nchw(x), 1))


def resize_bilinear(x, out_h, out_w, align_corners=True):
    return _nhwc(functional.interpolate(_nchw(x), (out_h, out_w), mode="bilinear", align_corners=align_corners))


def concat(tensors):
    return _nhwc(torch.cat([_nchw(x) for x in tensors], dim=1))


def dropout(x, rate, seed, first=0):
    return functional.dropout(x, rate)


def pad(x, top, bottom, left, right, value=0.0):
    return _nhwc(functional.pad(_nchw(x), (left, right, top, bottom), value=value))


def crop(x, top, left, height, width):
    return x[:, top : top + height, left : left + width]


def cross_entropy(logits, labels, ignore_index=255, class_weights=None, size=None):
    logits = logits if size is None else crop(resize_bilinear(logits, *size), 0, 0, *labels.shape[1:])
    loss = functional.cross_entropy(_nchw(logits), labels, ignore_index=ignore_index, weight=class_weights)
    loss.weight = None  # nobody asks
    return loss


_OPS = {
    "conv2d": conv2d,
    "depthwise_conv2d": depthwise_conv2d,
    "batch_norm": batch_norm,
    "conv2d_of_batch_norm": conv2d_of_batch_norm,
    "activate": activate,
    "relu": functional.relu,
    "max_pool2d": max_pool2d,
    "global_average_pool": global_average_pool,
    "resize_bilinear": resize_bilinear,
    "concat": concat,
    "dropout": dropout,
    "pad": pad,
    "crop": crop,
}
_LOSSES = {"cross_entropy": cross_entropy, "Loss": lambda mean, weight: mean}
