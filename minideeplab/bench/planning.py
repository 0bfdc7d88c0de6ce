"""`--suite distributed --simulate N`: what a step sends is recorded on one process, and simulated on many ranks."""

import dataclasses
import time

import numpy as np

import kernels
from minideeplab import cli
from minideeplab.bench.model import batch, network
from minideeplab.bench.schedule import LINKS, Event, Step, efficiency, images_until, ring, simulate, tree
from minideeplab.distributed import Alone, Replica
from minideeplab.nn import SGD
from minideeplab.train import train_step

_WITHOUT_ASPP = {"name": "deeplabv3", "backbone": "mobilenet_v2", "atrous_rates": ()}
NETWORKS = {  # name: (images, side, options of models.build)
    "v3+ xception65 1x513x513": (1, 513, {"backbone": "xception65"}),
    "v3+ resnet101 1x513x513": (1, 513, {"backbone": "resnet101"}),
    "v3 mobilenet_v2 without ASPP 1x513x513": (1, 513, _WITHOUT_ASPP),
}
SPEEDS = (1, 10, 50)  # of a rank: this machine, and what a GPU computes beside it
TARGET = 0.95  # efficiency from which communication is called hidden
IMAGES = 64  # on a rank, at most


class Recorder(Alone):
    """One of two ranks that are alike, so that it need not send: it writes down what it would, and when.

    Attributes:
        events: (time, bytes, whether the rank waits); end: when the last bucket is asked for.
    """

    size = 2

    def __init__(self):
        self.events, self.end = [], None

    def sum(self, array):
        self.events.append((time.perf_counter(), array.nbytes, True))
        array *= 2
        return array

    def start_sum(self, array):
        self.events.append((time.perf_counter(), array.nbytes, False))
        return self

    def progress(self):
        return True

    def wait(self):
        self.end = self.end or time.perf_counter()


def recorded(images, side, options, repeats) -> Step:
    """What a replica of this network sends in a training step: that of `repeats` steps with the median time."""
    model = network(options).train()
    group = Recorder()
    replica, optimiser = Replica(model, group), SGD(model, 0.001)
    x, labels = batch(images, side)
    steps = []
    for _ in range(repeats + 2):  # kernels compile in the first; gradients begin to travel in backward in the second
        group.events, group.end = [], None
        began = time.perf_counter()
        train_step(model, optimiser, x, labels, replica=replica)
        steps.append(_step(began, group, time.perf_counter()))
    return sorted(steps[2:], key=lambda step: step.seconds)[repeats // 2]


def _step(began, group, ended):
    times = [began] + [at for at, _, _ in group.events]
    gaps = np.diff(times).tolist()
    events = tuple(Event(gap, size, waits) for gap, (_, size, waits) in zip(gaps, group.events, strict=True))
    return Step(events, group.end - times[-1], ended - group.end)


def run(repeats, most):
    """For each network what it sends, its all-reduce alone, and its efficiency on 1, 2, 4, ... `most` ranks."""
    counts = [2**k for k in range(most.bit_length()) if 2**k <= most]
    rows = []
    for name, (images, side, options) in NETWORKS.items():
        step = recorded(images, side, options, repeats)
        kernels.load("cpu").release_pool()
        row = {"network": name, "images": images} | _sent(step)
        print(_heading(row))
        row["all_reduce"] = [_all_reduce(row["bucket_bytes"], ranks, link) for ranks in counts[1:] for link in LINKS]
        _print_all_reduce(row["all_reduce"])
        row["simulated"] = []
        for speed in SPEEDS:
            found = [
                _figures(step.scaled(speed=speed), ranks, link, images, speed) for ranks in counts for link in LINKS
            ]
            row["simulated"] += found
            _print_simulated(found, step.seconds / speed, speed)
        rows.append(row)
    return {"links": [dataclasses.asdict(link) for link in LINKS], "target": TARGET, "rows": rows}


def _sent(step):
    buckets = [event.size for event in step.events if not event.waits]
    norms = [event.size for event in step.events if event.waits]
    return {
        "step_seconds": step.seconds, "update_seconds": step.update, "backward_seconds": _backward(step),
        "bucket_bytes": sum(buckets), "buckets": len(buckets), "norm_bytes": sum(norms), "norms": len(norms),
    }  # fmt: skip


def _backward(step):
    """Seconds from the sum of the losses, the one of the fewest bytes, to the end of backward."""
    loss = min(range(len(step.events)), key=lambda i: step.events[i].size)
    return sum(event.seconds for event in step.events[loss + 1 :]) + step.rest


def _all_reduce(size, ranks, link):
    return {"link": link.name, "ranks": ranks, "ring": ring(ranks, size, link), "tree": tree(ranks, size, link)}


def _figures(step, ranks, link, images, speed):
    outcome, times = simulate(step, ranks, link), images_until(step, ranks, link, TARGET, IMAGES // images)
    return {
        "link": link.name, "ranks": ranks, "speed": speed, "efficiency": efficiency(step, ranks, link),
        "efficiency_ring": efficiency(step, ranks, link, ring), "efficiency_tree": efficiency(step, ranks, link, tree),
        "seconds": outcome.seconds, "norm_seconds": outcome.norms, "exposed_seconds": outcome.exposed,
        "images_until_target": times and times * images,
    }  # fmt: skip


def _heading(row):
    threads, buckets = cli.counted(kernels.num_threads(), "thread"), cli.counted(row["buckets"], "bucket")
    return (
        f"\n{row['network']} a rank, {threads}: step {row['step_seconds']:.3f} s, of which backward "
        f"{row['backward_seconds']:.3f}, update {row['update_seconds']:.3f}\n"
        f"  gradients {row['bucket_bytes'] / 1e6:.1f} MB in {buckets}; {row['norms']} small sums, of batch norm and "
        f"the loss, {row['norm_bytes'] / 1e6:.2f} MB\n"
    )


def _print_all_reduce(found):
    print("  all-reduce of all gradients alone, seconds: ring, tree")
    _print_table(found, lambda each: f"{each['ring']:8.3f} {each['tree']:8.3f}", 18)


def _print_simulated(found, seconds, speed):
    words = "as measured" if speed == 1 else f"{speed} times as fast"
    print(f"  computing {words}, {seconds * 1e3:.0f} ms a step: efficiency, ms waiting for batch norm + for buckets")
    print(f"  after backward, images a rank from which efficiency is {TARGET}")

    def cell(each):
        images = each["images_until_target"] or f">{IMAGES}"
        waiting = f"{1e3 * each['norm_seconds']:6.1f} +{1e3 * each['exposed_seconds']:7.1f}"
        return f"{each['efficiency']:5.3f} {waiting} {images:>4}"

    _print_table(found, cell, 26)


def _print_table(found, cell, width):
    """A line for each number of ranks, a column for each link."""
    print(f"    {'ranks':>5s}" + "".join(f"  {link.name:>{width}s}" for link in LINKS))
    for ranks in dict.fromkeys(each["ranks"] for each in found):
        cells = [cell(each) for each in found if each["ranks"] == ranks]
        print(f"    {ranks:5d}" + "".join(f"  {text:>{width}s}" for text in cells))
    print(flush=True)
