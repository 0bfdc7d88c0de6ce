"""The classes of pydensecrf, with its names, argument order, defaults and results: `import minideeplab.crf as dcrf`.

Arrays have the labels first: (K, N), N = width * height in the order of rows. What differs:

- arrays of any float dtype and memory layout are taken, images of any number of channels, too;
- `inference` returns a NumPy array;
- the lattice is found in float64 (there in float32 with 16-bit keys, which fail for small standard deviations), and
  images whose number of pixels is no multiple of four get no extra points at the origin;
- the helpers of `pydensecrf.utils` lie here, too (`unary_from_labels`, `create_pairwise_bilateral`, ...);
- a field of one label is certain of it (there: all zeros).

Source of the interface: pydensecrf 1.0 (github.com/lucasb-eyer/pydensecrf), MIT licence.
"""

import functools
import operator
import warnings
from enum import IntEnum
from numbers import Number

import numpy as np

from minideeplab.crf.field import DenseField
from minideeplab.crf.filters import LatticeFilter, bilateral_features, position_filter
from minideeplab.crf.refinement import warn_of_range


class NormalizationType(IntEnum):
    NO_NORMALIZATION = 0
    NORMALIZE_BEFORE = 1
    NORMALIZE_AFTER = 2
    NORMALIZE_SYMMETRIC = 3


class KernelType(IntEnum):
    CONST_KERNEL = 0
    DIAG_KERNEL = 1
    FULL_KERNEL = 2


NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = NormalizationType
CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = KernelType
_NAMES = dict(zip(NormalizationType, ("none", "before", "after", "symmetric"), strict=True))


class ConstUnary:
    """Costs u (K, N)."""

    def __init__(self, u):
        self.energy = _floats("unary", u)


class LogisticUnary:
    """Costs L f of features: L (K, D), f (D, N)."""

    def __init__(self, L, f):
        self.energy = _floats("L", L) @ _floats("f", f)


class DenseCRF:
    """A fully connected field of any points.

    Args:
        nvar: number of points; nlabels: number of labels.
    """

    def __init__(self, nvar, nlabels):
        if nvar < 1 or nlabels < 1:
            raise ValueError(f"a field needs at least one point and one label, got {nvar} and {nlabels}")
        self._nvar, self._nlabel = operator.index(nvar), operator.index(nlabels)
        self._unary, self._edges, self._field = None, [], None

    def setUnaryEnergy(self, u, f=None):
        """Costs of the labels (K, N), -log of probabilities; with f those of `LogisticUnary(u, f)`."""
        self.setUnary(ConstUnary(u) if f is None else LogisticUnary(u, f))

    def setUnary(self, u):
        """Costs of the labels: a `ConstUnary` or a `LogisticUnary`."""
        if not isinstance(u, (ConstUnary, LogisticUnary)):
            raise TypeError(
                f"setUnary takes a ConstUnary or a LogisticUnary, got {type(u).__name__}; see setUnaryEnergy"
            )
        if u.energy.shape != (self._nlabel, self._nvar):
            raise ValueError(f"Bad shape for unary energy (Need {(self._nlabel, self._nvar)}, got {u.energy.shape})")
        self._unary, self._field = np.ascontiguousarray(u.energy.T), None

    def addPairwiseEnergy(self, features, compat, kernel=DIAG_KERNEL, normalization=NORMALIZE_SYMMETRIC):
        """A Gaussian kernel of features (d, N), each divided by its standard deviation.

        Args:
            compat: a number attracts, arrays are costs. w: a positive one rewards equal labels; (K,): the cost of a
                label beside itself, so that the vector (-w, ..., -w) is the number w; (K, K): the cost of two labels
                side by side, made symmetric. A vector of `DenseField` has the other sign: it attracts.
            kernel: what could be learned of the kernel; it changes no result.
        """
        features = _floats("features", features)
        if features.ndim != 2 or features.shape[1] != self._nvar:
            raise ValueError(f"Bad shape for pairwise energy (Need (?, {self._nvar}), got {features.shape})")
        self._add(functools.partial(LatticeFilter, np.ascontiguousarray(features.T)), compat, kernel, normalization)

    def _add(self, make_filter, compat, kernel, normalization):
        """One more kernel; make_filter: of a normalisation, the filter."""
        KernelType(kernel)
        if not isinstance(compat, Number):
            compat = _floats("compat", compat)
            if compat.shape not in ((self._nlabel,), (self._nlabel, self._nlabel)):
                k = self._nlabel
                raise ValueError(f"compat must be a number, ({k},) or ({k}, {k}), got shape {compat.shape}")
            compat = (compat + compat.T) / 2 if compat.ndim == 2 else -compat  # here a cost, there a weight
        self._edges.append((make_filter(normalisation=_NAMES[NormalizationType(normalization)]), compat))
        self._field = None

    def _built(self):
        if self._field is None:
            unary = self._unary if self._unary is not None else np.zeros((self._nvar, self._nlabel), np.float32)
            self._field = DenseField(unary, self._edges)
        return self._field

    def inference(self, niter):
        """Probabilities (K, N) after `niter` steps."""
        return np.ascontiguousarray(self._built().infer(niter).T)

    def startInference(self):
        """(Q, tmp1, tmp2) for `stepInference`; only Q, (K, N), holds anything."""
        return np.ascontiguousarray(self._built().start().T), None, None

    def stepInference(self, Q, tmp1, tmp2):
        """One step on Q, in place."""
        q = np.ascontiguousarray(Q.T, np.float32)
        self._built().step(q)
        Q[...] = q.T

    def klDivergence(self, Q):
        """sum Q log Q + sum U Q + sum_m sum mu_m Q A_m Q, as pydensecrf has it.

        It counts pairs twice and lacks log Z: no divergence, and not what the steps minimise; that is
        `DenseField.free_energy`.
        """
        q, field = np.ascontiguousarray(np.asarray(Q, np.float32).T), self._built()
        wide = q.astype(np.float64)
        entropy = (wide * np.log(np.maximum(wide, 1e-20))).sum()
        return float(entropy + (wide * field.unary).sum() - (wide * field.message(q)).sum())


class DenseCRF2D(DenseCRF):
    """A fully connected field of the pixels of an image.

    Args:
        w, h: width first, then height; nlabels: number of labels.
    """

    def __init__(self, w, h, nlabels):
        super().__init__(w * h, nlabels)
        self._w, self._h = w, h

    def addPairwiseGaussian(self, sxy, compat, kernel=DIAG_KERNEL, normalization=NORMALIZE_SYMMETRIC):
        """A kernel of positions; sxy: standard deviation in pixels, one number or (horizontal, vertical)."""
        self._add(functools.partial(position_filter, self._h, self._w, sxy), compat, kernel, normalization)

    def addPairwiseBilateral(self, sxy, srgb, rgbim, compat, kernel=DIAG_KERNEL, normalization=NORMALIZE_SYMMETRIC):
        """A kernel of positions and colours; srgb: standard deviation, one number or one for each channel."""
        image = np.asarray(rgbim)
        if image.shape[:2] != (self._h, self._w):
            raise ValueError(f"Bad shape for pairwise bilateral (Need {(self._h, self._w, 3)}, got {image.shape})")
        features = bilateral_features(image, sxy, srgb)
        warn_of_range(image, srgb)
        self._add(functools.partial(LatticeFilter, features), compat, kernel, normalization)


def unary_from_labels(labels, n_labels, gt_prob, zero_unsure=True):
    """Costs (K, N) of labels that are right with probability `gt_prob`.

    Args:
        labels: integers of any shape; n_labels: their number, without 0 if that means unknown.
        zero_unsure: label 0 is no class, all classes are as probable there, and class 1 becomes the first.
    """
    labels = np.asarray(labels).reshape(-1)
    if not 0 < gt_prob < 1:
        raise ValueError(f"gt_prob must lie between 0 and 1, got {gt_prob}")
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    classes = labels.astype(np.int64) - bool(zero_unsure)
    known = classes >= 0 if zero_unsure else np.ones(labels.size, bool)
    if classes[known].size and not 0 <= classes[known].min() <= classes[known].max() < n_labels:
        raise ValueError(f"labels lie in {labels.min()} .. {labels.max()}, too many for {n_labels} classes")
    unary = np.full((n_labels, labels.size), -np.log((1 - gt_prob) / max(n_labels - 1, 1)), np.float32)
    unary[classes[known], np.flatnonzero(known)] = -np.log(gt_prob)
    unary[:, ~known] = np.log(n_labels)
    return unary


def compute_unary(labels, M, GT_PROB=0.5):
    """The old name of `unary_from_labels`, of M labels without the unknown one, 0."""
    _warn_of_old_name("compute_unary", "unary_from_labels")
    return unary_from_labels(labels, M, GT_PROB)


def unary_from_softmax(sm, scale=None, clip=1e-5):
    """Costs (K, N) of probabilities (K, ...).

    Args:
        scale: share of the probabilities in a mixture with the uniform distribution; clip: least probability.
    """
    sm = np.asarray(sm)
    if scale is not None:
        if not 0 < scale <= 1:
            raise ValueError(f"scale must be in (0, 1], got {scale}")
        sm = scale * sm + (1 - scale) / sm.shape[0]
    if clip is not None:
        sm = np.clip(sm, clip, 1.0)
    return -np.log(sm).reshape(sm.shape[0], -1).astype(np.float32)


def softmax_to_unary(sm, GT_PROB=1):
    """The old name of `unary_from_softmax`; GT_PROB: its scale. Nothing is clipped: a probability of 0 costs inf."""
    _warn_of_old_name("softmax_to_unary", "unary_from_softmax")
    with np.errstate(divide="ignore"):
        return unary_from_softmax(sm, None if GT_PROB == 1 else GT_PROB, clip=None)


def _warn_of_old_name(old, new):
    warnings.warn(f"{old} is an old name of pydensecrf; use {new}", DeprecationWarning, stacklevel=3)


def create_pairwise_gaussian(sdims, shape):
    """Features (d, N) of positions in an array of any shape, the first axis first.

    Its order of axes is (row, column), that of DenseCRF2D (column, row): with two different standard deviations the two
    differ, and the lattice lies a little differently.
    """
    mesh = np.indices(shape).astype(np.float32)
    return (mesh / _per_axis(sdims, mesh)).reshape(len(mesh), -1)


def create_pairwise_bilateral(sdims, schan, img, chdim=-1):
    """Features (d + C, N) of positions and values of an array; chdim: the axis of its channels, -1 for none."""
    img = np.asarray(img)
    channels = (img[None] if chdim == -1 else np.moveaxis(img, chdim, 0)).astype(np.float32)
    mesh = np.indices(channels.shape[1:]).astype(np.float32)
    if np.shape(schan) not in ((), (len(channels),)):
        raise ValueError(f"schan: give one number or {len(channels)}, got {schan!r}; chdim says where the channels are")
    schan = np.broadcast_to(np.asarray(schan, np.float32), len(channels)).reshape(-1, *[1] * (channels.ndim - 1))
    return np.concatenate([mesh / _per_axis(sdims, mesh), channels / schan]).reshape(len(mesh) + len(channels), -1)


def _per_axis(sdims, mesh):
    return np.broadcast_to(np.asarray(sdims, np.float32), len(mesh)).reshape(-1, *[1] * (mesh.ndim - 1))


def _floats(name, array):
    array = np.asarray(array)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be numbers, got {array.dtype}")
    return array.astype(np.float32)
