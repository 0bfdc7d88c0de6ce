"""What a kernel may be given: one float dtype, the right shape, labels in range. Errors name op and argument.

Feature maps and their gradients may be bfloat16; then all parameters are float32. Losses, softmax, the CRF and the
optimiser take float32 and float64 alone.
"""

import math

import numpy as np

from .activation import check_activation
from .bfloat16 import BFLOAT16, name_of, sum_dtype

_FLOATS = (np.float32, np.float64)
_PARAMETERS = ("weight", "scale", "shift", "mean", "var", "gamma", "beta", "running_mean", "running_var")


def check_floats(op, **arrays):
    """Raise TypeError unless all are arrays of one dtype, float32 or float64."""
    for name, a in arrays.items():
        dtype = _dtype_of(op, name, a)
        if dtype not in _FLOATS:
            widened = "; widen it with to_float32" if dtype == BFLOAT16 else ""
            raise TypeError(f"{op}: {name} must be float32 or float64, got {name_of(dtype)}{widened}")
    if len({a.dtype for a in arrays.values()}) > 1:
        raise TypeError(f"{op}: arrays must share one dtype, got {_dtypes(arrays)}")


def check_maps(op, **arrays):
    """Raise TypeError unless the maps share one dtype, and the parameters, known by name, have that of its sums.

    That is float32 for bfloat16 maps, and the maps' own dtype, float32 or float64, for others.
    """
    maps = {name: a for name, a in arrays.items() if name not in _PARAMETERS}
    if any(_dtype_of(op, name, a) == BFLOAT16 for name, a in maps.items()):
        if len({a.dtype for a in maps.values()}) > 1:
            raise TypeError(f"{op}: feature maps must share one dtype, got {_dtypes(maps)}")
        for name, a in arrays.items():
            if name in _PARAMETERS and _dtype_of(op, name, a) != sum_dtype(BFLOAT16):
                raise TypeError(
                    f"{op}: {name} must be float32 beside bfloat16 feature maps, as all parameters are, got"
                    f" {name_of(a.dtype)}"
                )
    else:
        check_floats(op, **arrays)


def check_sum_of(op, a, b):
    """Raise TypeError unless a and b share one dtype, or one is bfloat16 and the other a float32 bias or number."""
    if BFLOAT16 not in (_dtype_of(op, "a", a), _dtype_of(op, "b", b)):
        check_floats(op, a=a, b=b)
        return
    for name, array in (("a", a), ("b", b)):
        if array.dtype != BFLOAT16 and (array.dtype != np.float32 or len(array.shape) > 1):
            raise TypeError(
                f"{op}: beside a bfloat16 array {name} must be bfloat16, or float32 with one axis at most, as a bias"
                f" is; got {name_of(array.dtype)} of shape {tuple(array.shape)}"
            )


def _dtype_of(op, name, array):
    dtype = getattr(array, "dtype", None)
    if dtype is None:
        raise TypeError(f"{op}: {name} must be an array, got {type(array).__name__}")
    return dtype


def _dtypes(arrays):
    return ", ".join(f"{name} {name_of(a.dtype)}" for name, a in arrays.items())


def check_shape(op, name, array, shape):
    """Raise ValueError unless `array` has the shape; None in `shape` stands for any size."""
    if len(array.shape) != len(shape) or any(
        want not in (None, got) for got, want in zip(array.shape, shape, strict=True)
    ):
        wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(f"{op}: {name} must have shape {wanted}, got {tuple(array.shape)}")


def check_labels(logits, labels, class_weights, ignore_index, size=None):
    """Raise unless labels (N, H, W) are integers that are classes of the logits or `ignore_index`.

    They must have the height and width of the logits, or no more than those of `size`.
    """
    check_floats("cross_entropy", logits=logits)
    check_image("cross_entropy", "logits", logits)
    dtype = getattr(labels, "dtype", None)
    if getattr(dtype, "kind", "") not in ("i", "u") or not dtype.isnative:
        raise TypeError(
            f"cross_entropy: labels must be an integer array, got {getattr(labels, 'dtype', type(labels).__name__)}"
        )
    if size is None:
        check_shape("cross_entropy", "labels", labels, logits.shape[:-1])
    elif not isinstance(size, tuple) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise TypeError(f"cross_entropy: size must be a tuple of two ints, (height, width), got {size!r}")
    else:
        check_shape("cross_entropy", "labels", labels, (logits.shape[0], None, None))
        if not all(1 <= side <= limit for side, limit in zip(labels.shape[1:], size, strict=True)):
            raise ValueError(
                f"cross_entropy: labels of shape {labels.shape} are not inside logits enlarged to"
                f" {size[0]}x{size[1]}, or empty"
            )
    classes = logits.shape[-1]
    if class_weights is not None:
        check_floats("cross_entropy", logits=logits, class_weights=class_weights)
        check_shape("cross_entropy", "class_weights", class_weights, (classes,))
    if not isinstance(labels, np.ndarray):
        return  # on a device its kernel looks at the values
    bad = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"cross_entropy: label {labels[where]} at (n, row, column) = {where} is out of range:"
            f" valid are 0..{classes - 1} and {ignore_index} for void"
        )


def check_image(op, name, array):
    """Raise unless `array` is a feature map: of the four axes N, H, W, C, none empty."""
    check_maps(op, **{name: array})
    if len(array.shape) != 4 or min(array.shape) < 1:
        raise ValueError(
            f"{op}: {name} must have the four axes (N, H, W, C), none empty, got shape {tuple(array.shape)}"
        )


def check_to_bfloat16(x):
    """Raise unless x is float32: what has the digits of float64 shall keep them."""
    if _dtype_of("to_bfloat16", "x", x) != np.float32:
        raise TypeError(f"to_bfloat16: x must be float32, got {name_of(x.dtype)}")


def check_to_float32(x):
    """Raise unless x is bfloat16."""
    if _dtype_of("to_float32", "x", x) != BFLOAT16:
        raise TypeError(f"to_float32: x must be bfloat16, got {name_of(x.dtype)}")


def check_argmax_of(x):
    """Raise unless x is a float array whose channels can be numbered by uint8."""
    check_maps("argmax", x=x)
    if not x.shape or not 1 <= x.shape[-1] <= 256:
        raise ValueError(f"argmax: x must have 1 to 256 channels in its last axis, got shape {tuple(x.shape)}")


def check_confusion(truth, prediction, n_classes, ignore_index):
    """Raise unless both are integer arrays of one shape, and labels in host memory are in range."""
    for name, labels in (("truth", truth), ("prediction", prediction)):
        dtype = getattr(labels, "dtype", type(labels).__name__)
        if getattr(dtype, "kind", "") not in ("i", "u") or not dtype.isnative:
            raise TypeError(f"confusion_matrix: {name} has dtype {dtype}, expected an integer type")
    if tuple(truth.shape) != tuple(prediction.shape):
        raise ValueError(f"confusion_matrix: truth is {truth.shape}, prediction is {prediction.shape}")
    if not isinstance(truth, np.ndarray):
        return  # on a device its kernel looks at the values
    for name, labels, void in (("truth", truth, truth == ignore_index), ("prediction", prediction, False)):
        wrong = labels[((labels < 0) | (labels >= n_classes)) & ~np.asarray(void)]
        if wrong.size:
            worst = wrong.min() if wrong.min() < 0 else wrong.max()
            raise ValueError(f"confusion_matrix: {name} holds the label {worst}, valid are 0..{n_classes - 1}")


def check_pad(x, top, bottom, left, right):
    """Raise unless x is (N, H, W, C) and no border is negative."""
    check_image("pad", "x", x)
    if min(top, bottom, left, right) < 0:
        raise ValueError(f"pad: sizes must be >= 0, got top, bottom, left, right = {(top, bottom, left, right)}")


def check_crop(x, top, left, height, width):
    """Raise unless the part lies inside x."""
    check_image("crop", "x", x)
    _, h, w, _ = x.shape
    if min(top, left) < 0 or min(height, width) < 1 or top + height > h or left + width > w:
        raise ValueError(f"crop: rows {top}..{top + height}, columns {left}..{left + width} are not inside {h}x{w}")


def check_concat(arrays):
    """Raise unless all are (N, H, W, C_i) of one dtype that agree in N, H, W."""
    if not arrays:
        raise ValueError("concat: needs at least one array")
    check_maps("concat", **{f"input {i}": a for i, a in enumerate(arrays)})
    for i, a in enumerate(arrays):
        check_image("concat", f"input {i}", a)
    shapes = [tuple(a.shape) for a in arrays]
    if len({s[:3] for s in shapes}) != 1:
        raise ValueError(f"concat: inputs must agree in N, H, W, got shapes {', '.join(map(str, shapes))}")


def check_split(x, sizes):
    """Raise unless x is (N, H, W, C) and the sizes sum to C."""
    check_image("split", "x", x)
    if sum(sizes) != x.shape[3]:
        raise ValueError(f"split: sizes {tuple(sizes)} do not sum to the {x.shape[3]} channels of {tuple(x.shape)}")


def check_channels(op, x, **channels):
    """Raise unless x is (N, H, W, C) and every other array is (C,) of the dtype of its sums."""
    check_image(op, "x", x)
    check_maps(op, x=x, **channels)
    for name, a in channels.items():
        check_shape(op, name, a, (x.shape[3],))


def check_norm_grad(grad, x, activation, **channels):
    """Raise unless the arrays fit x (N, H, W, C)."""
    check_channels("batch_norm", x, **channels)
    check_activation("batch_norm", activation)
    check_alike("batch_norm", x=x, grad=grad)


def check_norm_sums(x, sums, count):
    """Raise unless sums are (2, C) float64, whatever x is, and count is no negative number."""
    if _dtype_of("batch_norm", "sums", sums) != np.float64:
        raise TypeError(f"batch_norm: sums must be float64 beside an x of any dtype, got {name_of(sums.dtype)}")
    check_shape("batch_norm", "sums", sums, (2, x.shape[3]))
    if not count >= 0:
        raise ValueError(f"batch_norm: count must be >= 0 values of each channel, got {count}")


def check_flatten(arrays, flat):
    """Raise unless the arrays have the dtype of `flat`, which has room for them and no more."""
    for number, a in enumerate(arrays):
        if a.dtype != flat.dtype:
            raise TypeError(f"flatten: array {number} is {name_of(a.dtype)}, flat is {name_of(flat.dtype)}")
    numbers = sum(a.size for a in arrays)
    if flat.ndim != 1 or flat.size != numbers:
        raise ValueError(f"flatten: flat must have shape ({numbers},), got {tuple(flat.shape)}")


def check_part(flat, first, shape):
    """Raise unless an array of that shape lies in `flat` from the number `first` on."""
    size = math.prod(shape)
    if flat.ndim != 1 or not 0 <= first <= flat.size - size:
        raise ValueError(f"part: flat of shape {tuple(flat.shape)} has no {size} numbers from {first} on")


def check_update(params, velocities, grads, weight_decays):
    """Raise unless each parameter has a velocity, a gradient and a decay that fit, and can be updated in place."""
    if not len(params) == len(velocities) == len(grads) == len(weight_decays):
        counts = f"{len(params)}, {len(velocities)}, {len(grads)} and {len(weight_decays)}"
        raise ValueError(f"sgd_update: params, velocities, grads and weight_decays must be as many, got {counts}")
    for param, velocity, grad in zip(params, velocities, grads, strict=True):
        check_floats("sgd_update", param=param, velocity=velocity, grad=grad)
        for name, a in (("velocity", velocity), ("grad", grad)):
            check_shape("sgd_update", name, a, tuple(param.shape))
        for name, a in (("param", param), ("velocity", velocity)):
            if isinstance(a, np.ndarray) and not a.flags.c_contiguous:
                raise ValueError(
                    f"sgd_update: {name} of shape {tuple(a.shape)} must be contiguous to be updated in place"
                )


def check_alike(op, **arrays):
    """Raise unless all are arrays of one shape, with dtypes as in `check_maps`."""
    check_maps(op, **arrays)
    if len({tuple(a.shape) for a in arrays.values()}) > 1:
        raise ValueError(
            f"{op}: shapes must agree, got " + ", ".join(f"{k} {tuple(a.shape)}" for k, a in arrays.items())
        )


def check_dropout(x, rate):
    """Raise unless x is a float array and rate a share of its elements, less than all."""
    check_maps("dropout", x=x)
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must be in [0, 1), got {rate}")


def check_argmax(op, argmax, grad):
    """Raise unless argmax is the int32 array that belongs to grad."""
    check_image(op, "grad", grad)
    if getattr(argmax, "dtype", None) != np.int32:
        raise TypeError(f"{op}: argmax must be int32, as max pooling returns it, got {getattr(argmax, 'dtype', None)}")
    check_shape(op, "argmax", argmax, tuple(grad.shape))


def check_running(running_mean, running_var, mean, var, count):
    """Raise unless the four are (C,) of one dtype and the batch had a variance."""
    check_alike("update_running", running_mean=running_mean, running_var=running_var, mean=mean, var=var)
    if count < 2:
        raise ValueError(
            f"update_running: {count} values a channel have no variance; leave the running statistics alone"
        )


MOST_DIMENSIONS = 19  # of a permutohedral lattice


def check_features(features):
    """Raise unless features are (N, d) finite floats that lie within 2^24 standard deviations."""
    check_floats("lattice", features=features)
    check_shape("lattice", "features", features, (None, None))
    n, d = features.shape
    if n < 1 or not 1 <= d <= MOST_DIMENSIONS:
        raise ValueError(f"lattice: features must be (N, d) with N >= 1 and d from 1 to 19, got {(n, d)}")
    if isinstance(features, np.ndarray):  # on a device its kernel looks at the values
        check_largest_feature(max(float(features.max()), -float(features.min())))


def check_largest_feature(largest):
    """Raise unless the largest absolute value of the features is within 2^24."""
    if not np.isfinite(largest):
        raise ValueError("lattice: features must be finite")
    if largest > 1 << 24:
        raise ValueError(
            f"lattice: a feature lies {largest:.3g} standard deviations from 0, at most 2^24 are possible; choose a"
            " larger standard deviation"
        )


def check_lattice_values(op, lattice, values, rows):
    """Raise unless values are (rows, K) of the lattice's dtype."""
    check_floats(op, values=values, lattice_weights=lattice.slice_weight)
    check_shape(op, "values", values, (rows, None))


def check_mean_field(lattice, values, unary, message, q, damping):
    """Raise unless q (N, K) can be updated in place and all that it is updated from fits."""
    arrays = {"unary": unary, "q": q, "message": message, "values": values}
    check_floats("mean_field_update", **{name: a for name, a in arrays.items() if a is not None})
    check_shape("mean_field_update", "q", q, (None, None))
    n, k = q.shape
    if min(n, k) < 1:
        raise ValueError(f"mean_field_update: q must have pixels and labels, got shape {(n, k)}")
    check_shape("mean_field_update", "unary", unary, (n, k))
    if message is not None:
        check_shape("mean_field_update", "message", message, (n, k))
    if (lattice is None) != (values is None):
        raise ValueError("mean_field_update: lattice and values belong together, give both or none")
    if lattice is not None:
        check_lattice_values("mean_field_update", lattice, values, lattice.n_vertices)
        check_shape("mean_field_update", "vertices of the lattice", lattice.vertex, (n, None))
    if isinstance(q, np.ndarray) and not (q.flags.c_contiguous and q.flags.writeable):
        raise ValueError(
            f"mean_field_update: q of shape {(n, k)} must be contiguous and writeable to be updated in place"
        )
    if not 0 <= damping < 1:
        raise ValueError(f"mean_field_update: damping must be in [0, 1), got {damping}")


def check_join(lattices, before, after):
    """Raise unless the lattices are of as many pixels and one dtype, with factors for each."""
    if not lattices or not len(lattices) == len(before) == len(after):
        counts = f"{len(lattices)}, {len(before)} and {len(after)}"
        raise ValueError(f"join_lattices: lattices, before and after must be as many, and not none, got {counts}")
    check_floats("join_lattices", **{f"weights of lattice {i}": a.slice_weight for i, a in enumerate(lattices)})
    pixels = [a.n_pixels for a in lattices]
    if len(set(pixels)) > 1:
        raise ValueError(f"join_lattices: lattices must have the same pixels, they have {pixels}")
    for name, factors in (("before", before), ("after", after)):
        for i, factor in enumerate(factors):
            shape = tuple(getattr(factor, "shape", np.shape(factor)))
            if shape not in ((), (pixels[0],)):
                raise ValueError(f"join_lattices: {name}[{i}] must be a number or ({pixels[0]},), got shape {shape}")
