"""Suite crf: a dense CRF on one image, built and inferred, with the share of each kernel."""

import collections
import time
from functools import partial

import numpy as np

import kernels
from minideeplab.bench.timing import spread, timings
from minideeplab.crf import DenseField, LatticeFilter, bilateral_features, position_filter
from minideeplab.data.photograph import photograph

ITERATIONS = 10
CASES = {  # name: (height, width, labels, sxy, srgb)
    "500x375, 21 labels (80, 13)": (375, 500, 21, 80, 13),
    "500x375, 21 labels (49, 5)": (375, 500, 21, 49, 5),
    "500x375, 21 labels (121, 5)": (375, 500, 21, 121, 5),
    "500x375, 81 labels (80, 13)": (375, 500, 81, 80, 13),
    "1920x1080, 19 labels (80, 13)": (1080, 1920, 19, 80, 13),
}
SMOOTH_SXY, SMOOTH_WEIGHT, WEIGHT = 3, 3, 10


def run(pydensecrf, repeats, device="cpu"):
    """A row for each case: vertices, seconds in all and of each part; pydensecrf's beside it.

    The lattice of positions is kept from image to image: `seconds` and parts are those of an image like the one before,
    `first_seconds` those of the first image of its size. pydensecrf keeps nothing; `ratio` is of the former.
    """
    rows = []
    place = f"{kernels.num_threads()} threads" if device == "cpu" else device
    print(f"dense CRF, {ITERATIONS} iterations, two kernels, symmetric normalisation; {place}")
    for name, (height, width, labels, sxy, srgb) in CASES.items():
        image, unary = photograph(height, width), _costs(height * width, labels)
        following = partial(infer, image, unary, sxy, srgb, device)
        jobs = [partial(infer_first, image, unary, sxy, srgb, device), following]
        if pydensecrf:
            jobs.append(partial(_theirs, pydensecrf, image, np.ascontiguousarray(unary.T), sxy, srgb))
        seconds = timings(jobs, repeats)
        row = {
            "case": name,
            "first_seconds": float(np.median(seconds[0])),
            "seconds": float(np.median(seconds[1])),
            "spread": spread(seconds[1]),
        } | _parts(following, device)
        row["vertices"] = LatticeFilter(bilateral_features(image, sxy, srgb)).lattice.n_vertices
        if pydensecrf:
            row["pydensecrf_seconds"] = float(np.median(seconds[2]))
            row["ratio"] = row["pydensecrf_seconds"] / row["seconds"]
        rows.append(row)
        print(_line(row), flush=True)
    return {"rows": rows, "threads": kernels.num_threads()}


def infer_first(*args):
    """`infer` of the first image of its size."""
    position_filter.release()
    return infer(*args)


def infer(image, unary, sxy, srgb, device="cpu"):
    """Probabilities after ITERATIONS steps, the lattice of colours built anew; from host memory and back."""
    height, width, _ = image.shape
    smooth = position_filter(height, width, SMOOTH_SXY, device=device)
    bilateral = LatticeFilter(bilateral_features(image, sxy, srgb), device=device)
    return DenseField(unary, [(smooth, SMOOTH_WEIGHT), (bilateral, WEIGHT)]).infer(ITERATIONS)


def _theirs(pydensecrf, image, unary, sxy, srgb):
    height, width, _ = image.shape
    field = pydensecrf.DenseCRF2D(width, height, len(unary))
    field.setUnaryEnergy(unary)
    field.addPairwiseGaussian(sxy=SMOOTH_SXY, compat=SMOOTH_WEIGHT)
    field.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=image, compat=WEIGHT)
    return np.array(field.inference(ITERATIONS))


def _costs(pixels, labels):
    """(N, K) costs of random probabilities."""
    logits = 4 * np.random.default_rng(1).random((pixels, labels), np.float32)
    return logits + np.log(np.exp(-logits).sum(axis=1, keepdims=True))


def _parts(job, device):
    """{kernel: seconds} of one call."""
    parts, synchronize = collections.defaultdict(float), kernels.load(device).synchronize

    def timed(name, function, args, kwargs):
        began = time.perf_counter()
        result = function(*args, **kwargs)
        synchronize()
        parts[name] += time.perf_counter() - began
        return result

    with kernels.watching(device, timed):
        began = time.perf_counter()
        job()
        total = time.perf_counter() - began
    return {"parts": dict(parts) | {"other": total - sum(parts.values())}}


def _line(row):
    parts = ", ".join(f"{name} {1e3 * seconds:.0f}" for name, seconds in row["parts"].items() if seconds > 1e-3)
    text = f"{row['case']:30s} {row['seconds']:6.3f} s (spread {row['spread']:.0%})"
    text += f", first {row['first_seconds']:6.3f} s  {row['vertices']:7,d} vertices"
    text += f"  [ms: {parts}]"
    if "ratio" in row:
        text += f"  pydensecrf {row['pydensecrf_seconds']:6.3f} s  pydensecrf / ours {row['ratio']:5.2f}"
    return text
