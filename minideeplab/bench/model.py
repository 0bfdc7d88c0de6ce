"""Suite model: inference and training step of whole networks, with a profile of the step and its peak memory."""

import collections
import subprocess
import sys
import time

import numpy as np

import kernels
from minideeplab import cli, models
from minideeplab.autograd import Tensor, no_grad, precision
from minideeplab.autograd.precision import precision_in_use
from minideeplab.bench.timing import copy_bandwidth, peak_gflops, spread, timings
from minideeplab.nn import SGD
from minideeplab.train import train_step

CLASSES = 21
MODELS = {  # name: (images, side, options of models.build)
    "v3+ xception65 OS16 1x513x513": (1, 513, {"backbone": "xception65"}),
    "v3+ xception65 OS16 4x257x257": (4, 257, {"backbone": "xception65"}),
    "v3+ resnet50 OS16 1x513x513": (1, 513, {"backbone": "resnet50"}),
    "v3 resnet50 OS8 1x513x513": (1, 513, {"backbone": "resnet50", "output_stride": 8, "decoder": False}),
    "v3+ mobilenet_v2 OS16 1x513x513": (1, 513, {"backbone": "mobilenet_v2"}),
    "LR-ASPP mobilenet_v3_large 1x513x513": (1, 513, {"name": "torchvision-lraspp_mobilenet_v3_large"}),
}
GPU_MODELS = {
    "v3+ xception65 OS16 16x513x513": (16, 513, {"backbone": "xception65"}),
    "v3+ resnet50 OS16 16x513x513": (16, 513, {"backbone": "resnet50"}),
}
PROFILE_ROWS = 12
CONVOLUTIONS = {name for file in ("conv2d", "pointwise", "depthwise") for name in kernels.CONTRACT[file]}


def network(options):
    """The model of a row: DeepLab v3+ where its options name none."""
    return models.build(**({"name": "deeplabv3plus", "num_classes": CLASSES} | options))


class Ours:
    """Inference and training step of one model on this project's kernels."""

    def __init__(self, name, device="cpu", checkpointed=False):
        n, side, options = _models(device)[name]
        self.device = device
        self.model = network(options).to(device)
        if checkpointed:
            self.model.checkpoint_activations()
        self.x, self.labels = (kernels.to_device(a, device) for a in batch(n, side))
        self.optimiser = SGD(self.model, 0.001)

    def inference(self):
        self.model.eval()
        with no_grad():
            return self.model(Tensor(self.x))

    def step(self):
        self.model.train()
        return train_step(self.model, self.optimiser, self.x, self.labels).item()


class Torch:
    """The same on PyTorch, in one of its two memory formats; in the precision bf16 within its autocast."""

    def __init__(self, name, channels_last, device="cpu"):
        import torch

        from minideeplab.bench import torch_ops

        n, side, options = _models(device)[name]
        x, labels = batch(n, side)
        model = network(options)
        self.torch, self.torch_ops = torch, torch_ops.torch_ops
        self.model = torch_ops.on_torch(model, channels_last, device)
        self.x = torch_ops.images(x, channels_last).to(device)
        self.labels = torch.from_numpy(labels.astype(np.int64)).to(device)
        self.optimiser = torch.optim.SGD(self.model.torch_parameters, 0.001, momentum=0.9, weight_decay=1e-4)

    def inference(self):
        self.model.eval()
        with self.torch_ops(), self.torch.inference_mode(), self._autocast():
            return self.model(self.x)

    def step(self):
        self.model.train()
        with self.torch_ops(), self.torch.enable_grad():
            with self._autocast():
                loss = self.model.loss(self.x, self.labels)
            self.optimiser.zero_grad()
            loss.backward()
        self.optimiser.step()
        return loss.item()

    def _autocast(self):
        return self.torch.autocast("cpu", self.torch.bfloat16, enabled=precision_in_use() == "bf16")


def _models(device):
    return MODELS if device == "cpu" else GPU_MODELS


def run(torch, repeats, device="cpu"):
    """A row for each model and job; then where our training step spends its time."""
    peak, bandwidth, threads = peak_gflops(device), copy_bandwidth(device), kernels.num_threads()
    print(f"bounds: {peak:.0f} GFLOP/s of fused multiply-adds, {bandwidth:.1f} GB/s of copying; {threads} threads")
    rows = []
    for name in _models(device):
        print(f"\n{name}")
        contenders = [Ours(name, device)] + [Torch(name, last, device) for last in (False, True) if torch]
        for job in ("inference", "step"):
            row = {"model": name, "job": job} | _measure(contenders, job, threads, peak, repeats)
            rows.append(row)
            print(_line(row), flush=True)
        profile = profile_of(contenders[0].step, device)
        rows[-1]["profile"] = profile
        print(_profile_table(profile, peak))
        del contenders
        kernels.load(device).release_pool()
        if device != "cpu":  # what the pool holds is not what the process holds
            rows[-1]["launches"] = sum(row["launches"] for row in profile)
            print(f"  {rows[-1]['launches']} launches of kernels in a step")
            continue
        if cli.peak_memory() is None:
            continue  # this system does not tell
        for library in ("ours", "ours checkpointed", *(("torch",) if torch else ())):
            rows[-1][f"{library} peak bytes"] = peak_memory(name, library, threads)
            print(f"  peak memory of the step, {library}: {rows[-1][f'{library} peak bytes'] / 1e9:.2f} GB", flush=True)
    return {"peak_gflops": peak, "copy_gbytes": bandwidth, "threads": threads, "rows": rows}


def _measure(contenders, job, threads, peak, repeats):
    ours = contenders[0]
    seconds = timings([getattr(each, job) for each in contenders], repeats, ours.device)
    middle = [float(np.median(s)) for s in seconds]
    flops = sum(row["flops"] for row in profile_of(getattr(ours, job), ours.device))
    figures = {"seconds": middle[0], "spread": spread(seconds[0])}
    figures |= {"gflop": flops / 1e9, "of_peak": flops / middle[0] / peak / 1e9}
    if threads > 1 and ours.device == "cpu":
        kernels.set_num_threads(1)
        figures["seconds_1_thread"] = float(np.median(timings([getattr(ours, job)], max(1, repeats // 3))[0]))
        kernels.set_num_threads(threads)
    if len(middle) > 1:
        figures |= {"torch_seconds": min(middle[1:]), "ratio": min(middle[1:]) / middle[0]}
    return figures


def _line(row):
    text = f"  {row['job']:10s} {row['seconds']:7.3f} s (spread {row['spread']:.0%})  {row['gflop']:6.0f} GFLOP"
    text += f"  {row['of_peak']:4.2f} of peak"
    if "seconds_1_thread" in row:
        text += f"  1 thread {row['seconds_1_thread']:7.3f} s"
    return text + (f"  torch {row['torch_seconds']:7.3f} s  torch / ours {row['ratio']:5.2f}" if "ratio" in row else "")


def profile_of(job, device="cpu"):
    """Time, calls and dense multiply-adds of each kernel during one call of `job`, the slowest first."""
    backend, rows = kernels.load(device), collections.defaultdict(lambda: collections.defaultdict(int))
    wait, launches = backend.synchronize, getattr(backend, "launches", int)

    def timed(name, function, args, kwargs):
        began, before = time.perf_counter(), launches()
        result = function(*args, **kwargs)
        wait()
        window = next((a for a in args if hasattr(a, "macs")), None)
        row = rows[name if window is None else f"{name} {window.k_h}x{window.k_w}"]
        row["seconds"] += time.perf_counter() - began
        row["calls"] += 1
        row["launches"] += launches() - before
        row["flops"] += 2 * window.macs if name in CONVOLUTIONS else 0
        return result

    with kernels.watching(device, timed):
        began = time.perf_counter()
        job()
        total = time.perf_counter() - began
    outside = total - sum(row["seconds"] for row in rows.values())
    rows["outside the kernels"] = {"seconds": outside, "calls": 1, "flops": 0, "launches": 0}
    return sorted(({"kernel": name} | row for name, row in rows.items()), key=lambda row: -row["seconds"])


def _profile_table(profile, peak):
    total = sum(row["seconds"] for row in profile)
    lines = [f"  {'where a step spends its time':34s} {'ms':>8s} {'share':>6s} {'calls':>6s} {'of peak':>8s}"]
    for row in profile[:PROFILE_ROWS]:
        of_peak = f"{row['flops'] / row['seconds'] / peak / 1e9:8.2f}" if row["flops"] else ""
        share = row["seconds"] / total
        lines.append(f"  {row['kernel']:34s} {row['seconds'] * 1e3:8.1f} {share:6.1%} {row['calls']:6d} {of_peak}")
    return "\n".join(lines)


def peak_memory(name, library, threads):
    """Peak resident bytes of a fresh process that makes three training steps; the interpreter and imports included."""
    arguments = f"{name!r}, {library!r}, {threads}, {precision_in_use()!r}"
    code = f"from minideeplab.bench import model; print(model.peak_of_steps({arguments}))"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def peak_of_steps(name, library, threads, precision_name):
    """Peak resident bytes of this process after three training steps."""
    kernels.set_num_threads(threads)
    precision(precision_name)
    if library != "torch":
        contender = Ours(name, checkpointed=library == "ours checkpointed")
    else:
        contender = Torch(name, channels_last=False)
        contender.torch.set_num_threads(threads)
    for _ in range(3):
        contender.step()
    return cli.peak_memory()


def batch(n, side):
    """Images of normal numbers, and labels of all classes."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((n, side, side, 3), np.float32)
    return x, generator.integers(0, CLASSES, (n, side, side), np.uint8)
