"""Measures the kernels: `python -m minideeplab.bench --help`.

Everything is a ratio: the two that are compared run in turn, in one process, and medians are quoted. The bound of a
dense convolution is the peak of fused multiply-adds, measured with the register tile on data in the first-level
cache; that of a depthwise one is the bandwidth of a large copy.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import kernels
from kernels.geometry import Window
from minideeplab import cli
from minideeplab.errors import UsageError

EXAMPLE = """\
  python -m minideeplab.bench --suite conv
  python -m minideeplab.bench --suite conv --against torch --json conv.json"""

DIRECTIONS = ("forward", "grad_input", "grad_weight")
# kind, name, H = W, C, K, kernel, stride, rate: layers of DeepLab v3 and v3+ at 513 x 513, batch 1
LAYERS = (
    ("conv", "2048->256 3x3 r12 33x33", 33, 2048, 256, 3, 1, 12),
    ("conv", "256->256 3x3 r2 65x65", 65, 256, 256, 3, 1, 2),
    ("conv", "64->64 3x3 129x129", 129, 64, 64, 3, 1, 1),
    ("conv", "728->728 1x1 33x33", 33, 728, 728, 1, 1, 1),
    ("conv", "304->256 1x1 129x129", 129, 304, 256, 1, 1, 1),
    ("conv", "3->64 7x7 s2 513x513", 513, 3, 64, 7, 2, 1),
    ("depthwise", "depthwise 728 r2 33x33", 33, 728, 728, 3, 1, 2),
    ("depthwise", "depthwise 304 129x129", 129, 304, 304, 3, 1, 1),
    ("depthwise", "depthwise 2048 r12 33x33", 33, 2048, 2048, 3, 1, 12),
)


class Layer:
    """One layer's arrays, and its three directions as functions without arguments."""

    def __init__(self, kind, name, size, c, k, kernel, stride, rate):
        self.kind, self.name, self.stride, self.rate, self.channels = kind, name, stride, rate, c
        self.padding = rate * (kernel - 1) // 2
        generator = np.random.default_rng(0)
        self.x = generator.standard_normal((1, size, size, c), np.float32)
        shape = (kernel, kernel, c, k) if kind == "conv" else (kernel, kernel, c)
        self.w = generator.standard_normal(shape, np.float32) / np.float32(kernel * kernel * c) ** 0.5
        make = Window.conv if kind == "conv" else Window.depthwise
        self.window = make(self.x.shape, self.w.shape, stride, rate, "same")
        self.grad = generator.standard_normal(self.window.y_shape, np.float32)

    def ours(self):
        k, op = kernels.load("cpu"), f"{'' if self.kind == 'conv' else 'depthwise_'}conv2d"
        return {
            "forward": lambda: getattr(k, op)(self.x, self.w, self.window),
            "grad_input": lambda: getattr(k, f"{op}_grad_input")(self.grad, self.w, self.window),
            "grad_weight": lambda: getattr(k, f"{op}_grad_weight")(self.x, self.grad, self.window),
        }

    def torch(self, torch, channels_last):
        """The same three in PyTorch, in one of its two memory formats."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x, grad = (
            torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=layout) for a in (self.x, self.grad)
        )
        w = torch.from_numpy(self.w if self.kind == "conv" else self.w[:, :, None, :]).permute(3, 2, 0, 1)
        w, groups = w.contiguous(memory_format=layout), 1 if self.kind == "conv" else self.channels
        pairs = [[v, v] for v in (self.stride, self.padding, self.rate)]

        def backward(*mask):
            return torch.ops.aten.convolution_backward(grad, x, w, None, *pairs, False, [0, 0], groups, [*mask, False])

        return {
            "forward": lambda: torch.nn.functional.conv2d(x, w, None, *pairs, groups),
            "grad_input": lambda: backward(True, False),
            "grad_weight": lambda: backward(False, True),
        }


def medians(functions, repeats):
    """Median seconds of each function, run in turn after one warm-up each, the order reversed every other round."""
    for f in functions:
        f()
    seconds = [[] for _ in functions]
    for repeat in range(repeats):
        for i in range(len(functions)) if repeat % 2 else reversed(range(len(functions))):
            began = time.perf_counter()
            functions[i]()
            seconds[i].append(time.perf_counter() - began)
    return [statistics.median(s) for s in seconds]


def peak_gflops(repeats=7):
    """Fused multiply-adds of all threads, in GFLOP/s: the register tile over and over on one small block."""
    from kernels.cpu.peak import run_tiles

    flops = run_tiles(1)
    loops = max(1, int(2e10 / flops))
    return flops * loops / medians([lambda: run_tiles(loops)], repeats)[0] / 1e9


def copy_bandwidth(repeats=7):
    """Bytes read and written by a large copy of all threads, in GB/s."""
    from kernels.cpu.peak import copy

    source = np.ones(1 << 25, np.float32)
    target = np.empty_like(source)
    return 2 * source.nbytes / medians([lambda: copy(source, target)], repeats)[0] / 1e9


def bench_conv(torch, repeats):
    """A row for each layer and direction: time, fraction of its bound, and the ratio to PyTorch's better layout."""
    peak, bandwidth, rows = peak_gflops(), copy_bandwidth(), []
    print(
        f"bounds: {peak:.0f} GFLOP/s of fused multiply-adds, {bandwidth:.1f} GB/s of copying;"
        f" {kernels.num_threads()} threads"
    )
    print(
        f"{'layer':26s} {'direction':12s} {'ms':>8s} {'of bound':>9s}"
        + (f" {'torch ms':>9s} {'torch / ours':>13s}" if torch else "")
    )
    for layer in itertools.starmap(Layer, LAYERS):
        ours = layer.ours()
        theirs = [layer.torch(torch, last) for last in (False, True)] if torch else []
        for direction in DIRECTIONS:
            times = medians([ours[direction], *(t[direction] for t in theirs)], repeats)
            row = {"layer": layer.name, "direction": direction, "ms": times[0] * 1e3}
            if layer.kind == "conv":
                row["gflops"] = 2 * layer.window.macs / times[0] / 1e9
                row["of_bound"] = row["gflops"] / peak
            else:
                row["gbytes"] = (layer.x.nbytes + layer.grad.nbytes) / times[0] / 1e9
                row["of_bound"] = row["gbytes"] / bandwidth
            text = f"{layer.name:26s} {direction:12s} {row['ms']:8.2f} {row['of_bound']:9.2f}"
            if theirs:
                row["torch_ms"] = min(times[1:]) * 1e3
                row["ratio"] = row["torch_ms"] / row["ms"]
                text += f" {row['torch_ms']:9.2f} {row['ratio']:13.2f}"
            print(text, flush=True)
            rows.append(row)
    return {"peak_gflops": peak, "copy_gbytes": bandwidth, "threads": kernels.num_threads(), "rows": rows}


@cli.main_guard
def main(argv=None):
    """Run the command; returns the exit code."""
    parser = cli.command_parser("bench", "Measure the kernels against the machine's bounds.", EXAMPLE)
    parser.add_argument("--suite", choices=["conv"], default="conv", help="what to measure")
    parser.add_argument(
        "--against", choices=["torch"], help="also run PyTorch, and print time ratios (> 1: we are faster)"
    )
    parser.add_argument("--repeats", type=cli.positive_int, default=9, help="rounds, of which the median counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    cli.add_device_arguments(parser)
    args: argparse.Namespace = parser.parse_args(argv)
    threads, torch = cli.use_threads(args.threads), None
    if args.against:
        try:
            import torch
        except ImportError as error:
            raise UsageError("--against torch needs PyTorch in this environment: pip install torch") from error
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
    figures = bench_conv(torch, args.repeats)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
