"""Arrays in, arrays out: the numerical kernels of minideeplab, usable on their own.

Each backend is a module with the same functions and the same signatures, imported when it is first asked for:

    reference   NumPy, straight from the definitions: the oracle that tests compare with
    cpu         Numba, fast
    cuda        numba.cuda, on a GPU; its arrays come from its `from_numpy` and go back by `to_numpy`
    shapes      arrays without numbers: what would be done, for counting

    import kernels
    from kernels.geometry import Window
    k = kernels.load("cpu")
    win = Window.conv(x.shape, w.shape, stride=1, rate=2, padding="same")
    y = k.conv2d(x, w, win)

Feature maps are (N, H, W, C), weights (KH, KW, C, K), depthwise weights (KH, KW, C).
README.md tells more.
"""

import importlib
from contextlib import contextmanager

import numpy as np

BACKENDS = ("reference", "cpu", "cuda", "shapes")

#: The functions that every backend must have, by the file that holds them.
CONTRACT = {
    "arrays": (
        "from_numpy",
        "to_numpy",
        "empty",
        "zeros",
        "full",
        "copy",
        "reshape",
        "flatten",
        "part",
        "is_finite",
        "synchronize",
    ),
    "rounding": ("to_bfloat16", "to_float32"),
    "elementwise": ("add", "multiply", "expand", "sum_to", "activate", "activate_grad", "dropout"),
    "conv2d": ("conv2d", "conv2d_grad_input", "conv2d_grad_weight"),
    "pointwise": ("pointwise", "pointwise_grad_input", "pointwise_grad_weight"),
    "depthwise": ("depthwise_conv2d", "depthwise_conv2d_grad_input", "depthwise_conv2d_grad_weight"),
    "pool": (
        "max_pool2d",
        "max_pool2d_grad",
        "average_pool2d",
        "average_pool2d_grad",
        "adaptive_average_pool2d",
        "adaptive_average_pool2d_grad",
        "adaptive_max_pool2d",
        "adaptive_max_pool2d_grad",
    ),
    "resize": ("resize_bilinear", "resize_bilinear_grad", "resize_nearest", "resize_nearest_grad"),
    "layout": ("pad", "crop", "concat", "split"),
    "norm": (
        "batch_norm_statistics",
        "batch_norm",
        "batch_norm_factors",
        "batch_norm_grad",
        "batch_norm_grad_sums",
        "batch_norm_grad_input",
        "update_running",
    ),
    "softmax": ("argmax", "softmax", "softmax_grad", "log_softmax", "log_softmax_grad"),
    "cross_entropy": ("cross_entropy", "cross_entropy_grad"),
    "confusion": ("confusion_matrix",),
    "update": ("sgd_update",),
}

#: Functions that some backends have besides: each may do in one pass what several of the contract do in several, and
#: calls them itself where it cannot. Whoever calls one asks whether it is there, else calls these. In `watching` it is
#: not, so that observers see its parts.
FUSED = ("separable_conv2d", "pointwise_of_batch_norm", "pointwise_of_batch_norm_grad_weight")

#: The functions of a dense CRF, which backends without MISSING_CRF have beside those of the contract.
CRF_CONTRACT = {
    "lattice": ("build_lattice", "join_lattices", "splat", "blur", "slice_lattice"),
    "mean_field": ("mean_field_update",),
}
MISSING_CRF = ("shapes",)  # the shape of a lattice follows from numbers


_loaded = {}


def load(name):
    """The backend module of that name, imported on first use.

    Raises:
        ValueError: an unknown name.
        ImportError, RuntimeError: cuda without its packages, or without a GPU.
    """
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; there are {', '.join(BACKENDS)}")
    if name not in _loaded:
        if name == "cuda":
            importlib.import_module("kernels.cuda.device").require()
        _loaded[name] = importlib.import_module(f"kernels.{name}")
    return _loaded[name]


def device_of(*arrays):
    """The device that holds the arrays: "cpu" for NumPy arrays, "cuda" and "shapes" for those of these backends.

    Raises:
        TypeError: something that is not an array of a known device, or arrays on different devices.
    """
    devices = set()
    for a in arrays:
        device = "cpu" if isinstance(a, np.ndarray) else getattr(type(a), "device", None)
        if device not in ("cpu", "cuda", "shapes"):
            raise TypeError(f"expected a NumPy array, got {type(a).__name__}; wrap lists with numpy.asarray")
        devices.add(device)
    if len(devices) > 1:
        raise TypeError(f"arrays lie on different devices, {' and '.join(sorted(devices))}; move them to one first")
    return devices.pop()


def to_device(array, device):
    """The array on that device: itself where it lies there, else a copy."""
    here = device_of(array)
    return array if here == device else load(device).from_numpy(load(here).to_numpy(array))


@contextmanager
def watching(backend, observer):
    """Inside the block observer(name, function, args, kwargs) stands between callers and each function of a backend.

    It calls function(*args, **kwargs) and returns the result. Functions that call each other inside the backend are not
    seen; those of FUSED are None meanwhile.
    """
    module, contract = load(backend), CONTRACT if backend in MISSING_CRF else CONTRACT | CRF_CONTRACT
    functions = {name: getattr(module, name) for names in contract.values() for name in names}
    fused = {name: getattr(module, name) for name in FUSED if hasattr(module, name)}

    def watched(name, function):
        return lambda *args, **kwargs: observer(name, function, args, kwargs)

    try:
        for name, function in functions.items():
            setattr(module, name, watched(name, function))
        for name in fused:
            setattr(module, name, None)
        yield
    finally:
        for name, function in (functions | fused).items():
            setattr(module, name, function)


def set_num_threads(count):
    """Use `count` threads in CPU kernels (1 .. the number Numba was started with). Results do not depend on it."""
    import numba

    most = numba.config.NUMBA_NUM_THREADS
    if not 1 <= count <= most:
        raise ValueError(f"threads must be between 1 and {most} on this machine, got {count}")
    numba.set_num_threads(count)


def is_compiled():
    """Whether CPU kernels lie compiled on disk; if not, their first use takes half a minute longer."""
    from .cpu import jit

    return jit.FOUND_COMPILED


def has_bfloat16():
    """Whether this processor multiplies bfloat16 numbers: kernels take them on any, but fast only there."""
    from .cpu import bfloat16_block

    return bfloat16_block.FAST


def num_threads():
    """Threads that CPU kernels use now."""
    import numba

    return numba.get_num_threads()
