"""Suite conv: single layers of DeepLab v3 and v3+ in their directions; batch norm, which follows each, with ReLU.

With --precision bf16 feature maps are bfloat16, and all of PyTorch's operands; the bound stays that of float32.
"""

import numpy as np

import kernels
from kernels.geometry import Window
from minideeplab.bench.timing import (
    copy_bandwidth,
    feature_maps,
    numpy_matmul_gflops,
    peak_gflops,
    spread,
    timings,
    torch_tensor,
)

DIRECTIONS = ("forward", "grad_input", "grad_weight")
# kind, N, H = W, C, K, kernel, stride, rate
LAYERS = (
    ("conv", 1, 33, 2048, 256, 3, 1, 12),
    ("conv", 1, 33, 320, 256, 3, 1, 6),
    ("conv", 1, 65, 256, 256, 3, 1, 2),
    ("conv", 1, 129, 64, 64, 3, 1, 1),
    ("conv", 1, 33, 728, 728, 1, 1, 1),
    ("conv", 1, 129, 304, 256, 1, 1, 1),
    ("conv", 2, 129, 64, 128, 1, 1, 1),
    ("conv", 1, 513, 3, 64, 7, 2, 1),
    ("conv", 1, 513, 3, 32, 3, 2, 1),
    ("depthwise", 1, 33, 728, 728, 3, 1, 2),
    ("depthwise", 1, 129, 304, 304, 3, 1, 1),
    ("depthwise", 1, 33, 2048, 2048, 3, 1, 12),
    ("depthwise", 1, 257, 128, 128, 3, 2, 1),
)


NORMS = ((1, 33, 728), (1, 129, 304), (2, 129, 128))  # N, H = W, C of a batch norm
IMAGES = {"cpu": 1, "cuda": 16}  # times as many images as LAYERS says


class Layer:
    """One layer's arrays, and its three directions as functions without arguments."""

    def __init__(self, device, kind, n, size, c, k, kernel, stride, rate):
        n *= IMAGES[device]
        self.device = device
        self.kind, self.stride, self.rate, self.channels = kind, stride, rate, c
        channels = f"{c}->{k}" if kind == "conv" else f"depthwise {c}"
        options = f"{f' s{stride}' if stride > 1 else ''}{f' r{rate}' if rate > 1 else ''}"
        self.name = f"{channels} {kernel}x{kernel}{options} {f'{n}x' if n > 1 else ''}{size}x{size}"
        self.padding = rate * (kernel - 1) // 2
        shape = (kernel, kernel, c, k) if kind == "conv" else (kernel, kernel, c)
        (self.x,), self.w = feature_maps(device, (n, size, size, c)), _normal(shape, device)
        make = Window.conv if kind == "conv" else Window.depthwise
        self.window = make(self.x.shape, self.w.shape, stride, rate, "same")
        (self.grad,) = feature_maps(device, self.window.y_shape)

    def bytes_of(self, direction):
        """What a memory-bound layer must read and write."""
        return self.x.nbytes + self.grad.nbytes

    def ours(self):
        k, op = kernels.load(self.device), f"{'' if self.kind == 'conv' else 'depthwise_'}conv2d"
        return {
            "forward": lambda: getattr(k, op)(self.x, self.w, self.window),
            "grad_input": lambda: getattr(k, f"{op}_grad_input")(self.grad, self.w, self.window),
            "grad_weight": lambda: getattr(k, f"{op}_grad_weight")(self.x, self.grad, self.window),
        }

    def torch(self, torch, channels_last):
        """The same three in PyTorch, in one of its two memory formats."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x, w, grad = (torch_tensor(torch, a) for a in (self.x, self.w, self.grad))
        w = w.to(x.dtype)
        w = w if self.kind == "conv" else w[:, :, None, :]
        x, w, grad = x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), grad.permute(0, 3, 1, 2)
        x, w, grad = (a.to(self.device).contiguous(memory_format=layout) for a in (x, w, grad))
        groups = 1 if self.kind == "conv" else self.channels
        pairs = [[v, v] for v in (self.stride, self.padding, self.rate)]

        def backward(*mask):
            return torch.ops.aten.convolution_backward(grad, x, w, None, *pairs, False, [0, 0], groups, [*mask, False])

        return {
            "forward": lambda: torch.nn.functional.conv2d(x, w, None, *pairs, groups),
            "grad_input": lambda: backward(True, False),
            "grad_weight": lambda: backward(False, True),
        }


class Norm:
    """A batch norm with ReLU in training: the batch's statistics and the result; the three gradients."""

    kind = "norm"

    def __init__(self, device, n, size, c):
        shape, self.device = (n * IMAGES[device], size, size, c), device
        self.name = f"batch norm {c} {f'{n}x' if n > 1 else ''}{size}x{size}"
        self.x, self.grad = feature_maps(device, shape, shape)
        self.gamma, self.beta = _normal((c,), device), _normal((c,), device)

    def bytes_of(self, direction):
        """x twice and y; or twice x and the gradient of y, and once that of x."""
        return {"forward": 3, "gradients": 5}[direction] * self.x.nbytes

    def ours(self):
        k, x, affine = kernels.load(self.device), self.x, (self.gamma, self.beta, 1e-5, "relu")
        mean, var = k.batch_norm_statistics(x)
        return {
            "forward": lambda: k.batch_norm(x, *k.batch_norm_statistics(x), *affine),
            "gradients": lambda: k.batch_norm_grad(self.grad, x, mean, var, *affine, True),
        }

    def torch(self, torch, channels_last):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x, grad = (torch_tensor(torch, a).permute(0, 3, 1, 2).to(self.device) for a in (self.x, self.grad))
        x, grad = (a.contiguous(memory_format=layout) for a in (x, grad))
        gamma, beta = (torch_tensor(torch, a).to(self.device) for a in (self.gamma, self.beta))
        y, mean, inverse = torch.native_batch_norm(x, gamma, beta, None, None, True, 0.1, 1e-5)
        y = y.relu_()

        def backward():
            g = torch.ops.aten.threshold_backward(grad, y, 0)
            return torch.ops.aten.native_batch_norm_backward(
                g, x, gamma, None, None, mean, inverse, True, 1e-5, [True] * 3
            )

        return {
            "forward": lambda: torch.native_batch_norm(x, gamma, beta, None, None, True, 0.1, 1e-5)[0].relu_(),
            "gradients": backward,
        }


def _normal(shape, device):
    """Standard normal numbers in an array as the engine makes them."""
    numbers = kernels.load("cpu").copy(np.random.default_rng(0).standard_normal(shape, np.float32))
    return kernels.to_device(numbers, device)


def run(torch, repeats, device="cpu"):
    """A row for each layer and direction: time, fraction of its bound, and the ratio to PyTorch's better layout."""
    peak, bandwidth, rows = peak_gflops(device), copy_bandwidth(device), []
    matmul = numpy_matmul_gflops()
    print(
        f"bounds: {peak:.0f} GFLOP/s of fused multiply-adds, {bandwidth:.1f} GB/s of copying;"
        f" NumPy's matmul: {matmul:.0f} GFLOP/s; {kernels.num_threads()} threads"
    )
    print(
        f"{'layer':26s} {'direction':12s} {'ms':>8s} {'spread':>7s} {'speed':>13s} {'of bound':>9s}"
        + (f" {'torch ms':>9s} {'torch / ours':>13s}" if torch else "")
    )
    for layer in (*(Layer(device, *layer) for layer in LAYERS), *(Norm(device, *norm) for norm in NORMS)):
        ours = layer.ours()
        theirs = [layer.torch(torch, last) for last in (False, True)] if torch else []
        for direction in ours:
            rows.append(row := _measure(layer, direction, ours, theirs, peak, bandwidth, repeats))
            print(_line(row), flush=True)
    return {
        "peak_gflops": peak, "copy_gbytes": bandwidth, "numpy_matmul_gflops": matmul,
        "threads": kernels.num_threads(), "rows": rows,
    }  # fmt: skip


def _measure(layer, direction, ours, theirs, peak, bandwidth, repeats):
    seconds = timings([ours[direction], *(layout[direction] for layout in theirs)], repeats, layer.device)
    middle = [float(np.median(s)) for s in seconds]
    row = {"layer": layer.name, "direction": direction, "ms": middle[0] * 1e3, "spread": spread(seconds[0])}
    if layer.kind == "conv":
        row["gflops"] = 2 * layer.window.macs / middle[0] / 1e9
        row["of_bound"] = row["gflops"] / peak
    else:
        row["gbytes"] = layer.bytes_of(direction) / middle[0] / 1e9
        row["of_bound"] = row["gbytes"] / bandwidth
    if theirs:
        row["torch_ms"] = min(middle[1:]) * 1e3
        row["ratio"] = row["torch_ms"] / row["ms"]
    return row


def _line(row):
    speed = f"{row['gflops']:.0f} GFLOP/s" if "gflops" in row else f"{row['gbytes']:.1f} GB/s"
    text = f"{row['layer']:26s} {row['direction']:12s} {row['ms']:8.2f} {row['spread']:7.0%} {speed:>13s}"
    text += f" {row['of_bound']:9.2f}"
    return text + (f" {row['torch_ms']:9.2f} {row['ratio']:13.2f}" if "ratio" in row else "")
