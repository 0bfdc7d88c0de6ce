"""Mean-field inference in a fully connected conditional random field.

    E(x) = sum_i U_i(x_i) + 1/2 sum_m sum_{i, j} mu_m(x_i, x_j) A_m[i, j]

Label x_i of pixel i has the cost U. A pair of pixels has the cost mu of its two labels, times A[i, j] of a Gaussian
filter (filters.py). The distribution exp(-E) / Z is approximated by independent pixels Q:

    Q_i(l) <- exp(-U_i(l) - sum_m sum_l' mu_m(l, l') (A_m Q)_i(l')) / normaliser, for all pixels at once.

Source: Krähenbühl & Koltun 2011, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
(arXiv 1210.5644), equations 1-5 and algorithm 1.
"""

import functools
from typing import NamedTuple

import numpy as np

import kernels
from kernels.bfloat16 import name_of
from kernels.geometry import Window
from minideeplab.crf.filters import GaussianFilter, LatticeFilter
from minideeplab.crf.rows import concat_rows, split_rows


class Step(NamedTuple):
    """What one step of inference did.

    Attributes:
        free_energy: of Q after the step, see `DenseField.free_energy`.
        change: largest |dQ|.
        changed_labels: number of pixels whose most probable label has changed.
    """

    free_energy: float
    change: float
    changed_labels: int


class DenseField:
    """Unary costs and Gaussian filters with their label compatibilities.

    Args:
        unary: (N, K) float32 or float64 costs, -log of probabilities.
        edges: pairs (filter, compatibility), filters of N pixels, all on one device. Weights attract, a matrix costs:
            a number w: the weight of all labels (Potts), mu = -w I. A positive one rewards equal labels;
            (K,): a weight v(l) for each label, mu = -diag(v), so that w and (w, ..., w) are the same;
            (K, K): mu(l, l') itself, the cost of label l beside l'. The matrix w (1 - I), a cost of different labels,
                gives the probabilities of w: it is -w I and a number for each pixel, on which no probability depends.
        remove_self: leave out the pixel itself, A[i, i] Q_i, as the paper's sums do and its code does not. Kept, it
            makes a symmetric Gaussian matrix positive semidefinite. Then no step with positive weights raises the free
            energy. Left out, a step can raise it.

    Probabilities and messages are arrays of the filters' device, `unary` in host memory.

    Raises:
        ValueError, TypeError: what does not fit, and what to change.
    """

    def __init__(self, unary, edges, remove_self=False):
        self.unary = _checked_unary(unary)
        n, labels = self.unary.shape
        self._edges = []
        for number, edge in enumerate(edges):
            if not isinstance(edge, (tuple, list)) or len(edge) != 2:
                raise TypeError(f"edges {number}: expected a pair (filter, compatibility), got {type(edge).__name__}")
            gaussian, compatibility = edge
            if not isinstance(gaussian, GaussianFilter):
                raise TypeError(f"edges {number}: expected a GaussianFilter, got {type(gaussian).__name__}")
            if gaussian.n_pixels != n:
                raise ValueError(f"edges {number}: the filter is of {gaussian.n_pixels} pixels, unary of {n}")
            self._edges.append((gaussian, _checked_compatibility(compatibility, labels, self.unary.dtype)))
        devices = {gaussian.device for gaussian, _ in self._edges} or {"cpu"}
        if len(devices) > 1:
            raise ValueError(f"edges: filters lie on different devices, {' and '.join(sorted(devices))}; choose one")
        self._k = kernels.load(devices.pop())
        self._costs = self._k.from_numpy(self.unary)
        self._on_lattice, self._others = [], []
        for edge in self._edges:
            joins = isinstance(edge[0], LatticeFilter) and edge[0].dtype == self.unary.dtype
            (self._on_lattice if joins else self._others).append(edge)
        self._lattice = self._join()
        self._own = []  # ((N, 1), compatibility): the diagonals, to be taken off
        for gaussian, compatibility in self._edges if remove_self else ():
            diagonal = gaussian.own_weight()[:, None].astype(self.unary.dtype)
            self._own.append((self._k.from_numpy(diagonal), compatibility))

    def _join(self):
        """All lattices as one, into whose weights the normalisation and the Potts weights are multiplied."""
        if not self._on_lattice:
            return None
        k, filters = self._k, [gaussian for gaussian, _ in self._on_lattice]
        weights = [c if c.ndim == 0 else c.dtype.type(1) for _, c in self._on_lattice]
        before = [k.from_numpy(gaussian.before) for gaussian in filters]
        after = [k.from_numpy(gaussian.after * w) for gaussian, w in zip(filters, weights, strict=True)]
        return k.join_lattices([gaussian.lattice for gaussian in filters], before, after)

    def start(self):
        """softmax(-U): Q before the first step, (N, K)."""
        q = self._k.zeros(self.unary.shape, self.unary.dtype)
        self._k.mean_field_update(None, None, self._costs, None, q)
        return q

    def step(self, q, damping=0.0):
        """Q_i(l) <- exp(-U_i(l) - sum_m sum_l' mu_m(l, l') (A_m Q)_i(l')) / normaliser, for all pixels at once.

        One step of inference on q (N, K), in place, on the filters' device; returns the largest |dQ|. The
        share `damping` of the old q stays. Filters on lattices are applied as one: splat, blur, slice.
        """
        values = None
        if self._lattice is not None:
            values = self._mixed_on_vertices(self._k.blur(self._lattice, self._k.splat(self._lattice, q)))
        return self._k.mean_field_update(self._lattice, values, self._costs, self._message(q, self._others), q, damping)

    def _mixed_on_vertices(self, values):
        """Compatibilities are applied on the vertices, which are fewer than pixels; numbers are in the lattice."""
        if all(compatibility.ndim == 0 for _, compatibility in self._on_lattice):
            return values
        blocks = split_rows(self._k, values, [gaussian.lattice.n_vertices for gaussian, _ in self._on_lattice])
        for i, (_, compatibility) in enumerate(self._on_lattice):
            if compatibility.ndim:
                blocks[i] = self._weighed(compatibility, blocks[i])
        return concat_rows(self._k, blocks)

    def message(self, q):
        """-sum_m sum_l' mu_m(l, l') (A_m Q)(l') of q (N, K), on its device: what the filters add to the logits -U."""
        message = self._message(q, self._edges)
        return self._k.zeros(self.unary.shape, self.unary.dtype) if message is None else message

    def _message(self, q, edges):
        """The message of some filters, less that of each pixel to itself for `remove_self`; None for no message."""
        parts = [self._weighed(compatibility, _applied(gaussian, q)) for gaussian, compatibility in edges]
        for own, compatibility in self._own:
            parts.append(self._weighed(-compatibility, self._k.multiply(own, q)))
        return functools.reduce(self._k.add, parts) if parts else None

    def _weighed(self, compatibility, values):
        """-sum_l' mu(l, l') x(l') for rows x (.., K); w x for weights w, one or K of them."""
        k = self._k
        if compatibility.ndim < 2:
            return k.multiply(values, k.from_numpy(compatibility.reshape(-1)))
        labels = values.shape[1]
        x, weight = k.reshape(values, (1, 1, *values.shape)), -compatibility.T.reshape(1, 1, labels, labels)
        y = k.pointwise(x, k.from_numpy(np.ascontiguousarray(weight)), Window.conv(x.shape, weight.shape))
        return k.reshape(y, values.shape)

    def free_energy(self, q):
        """F(Q) = sum Q log Q + sum U Q + 1/2 sum_m sum mu_m(l, l') Q(l) (A_m Q)(l'), in nats, summed in float64.

        With symmetric filters it is what the steps minimise; the 1/2 counts each pair once. With `remove_self` it is
        KL(Q || P) - log Z for P = exp(-E) / Z. Without it, a Potts weight w adds half the sum over the pixels of
        w A[i, i] (1 - sum_l Q_i(l)^2) to the divergence.
        """
        wide, message = (self._k.to_numpy(a).astype(np.float64) for a in (q, self.message(q)))
        entropy = (wide * np.log(np.maximum(wide, 1e-300))).sum()
        return float(entropy + (wide * self.unary).sum() - 0.5 * (wide * message).sum())

    def _first(self, start):
        """A copy of Q on the filters' device, from any device."""
        return self._k.from_numpy(np.array(kernels.to_device(start, "cpu"), self.unary.dtype, order="C"))

    def infer(self, iterations=10, damping=0.0, tolerance=0.0, report=None, start=None):
        """Mean-field inference.

        Args:
            iterations: steps at most; tolerance: stop when no probability has changed by more.
            damping: share of the old Q that a step keeps, in [0, 1).
            report: function called with a `Step` after each step; costs a filter more each time.
            start: Q to begin with, softmax(-U) if None.

        Returns:
            (N, K) probabilities, in host memory.

        Raises:
            ValueError: numbers so large that a probability is not finite.
        """
        before = None
        for q, change in self._steps(iterations, damping, tolerance, start):
            if report:
                labels = self._k.to_numpy(q).argmax(axis=1)
                if before is not None:
                    report(Step(self.free_energy(q), change, int((before != labels).sum())))
                before = labels
        return self._finite(q)

    def iterate(self, iterations=10, damping=0.0, tolerance=0.0, start=None):
        """The steps of `infer` one by one: yields a copy of Q, (N, K) in host memory, after each of them.

        The last one equals the result of `infer` bit for bit; `start` before them is `DenseField.start`.

        Args and Raises: as in `infer`; probabilities that are not finite are refused where they appear.
        """
        steps = self._steps(iterations, damping, tolerance, start)
        next(steps)  # Q before the first step
        for q, _ in steps:
            yield self._finite(q).copy()

    def _steps(self, iterations, damping, tolerance, start):
        """(Q, largest |dQ|) before the first step, then after each; Q is on the filters' device, and one array."""
        if iterations < 0:
            raise ValueError(f"iterations must be >= 0, got {iterations}")
        q, change = self.start() if start is None else self._first(start), np.inf
        yield q, change
        for _ in range(iterations):
            change = self.step(q, damping)
            yield q, change
            if change <= tolerance:
                return

    def _finite(self, q):
        if not self._k.is_finite(q):
            raise ValueError("probabilities are no longer finite: choose smaller costs and weights, or a start that is")
        return self._k.to_numpy(q)


def _checked_unary(unary):
    unary = np.ascontiguousarray(unary)
    if unary.dtype not in (np.float32, np.float64):
        raise TypeError(f"unary must be float32 or float64, got {name_of(unary.dtype)}")
    if unary.ndim != 2 or 0 in unary.shape:
        raise ValueError(f"unary must be (N, K), costs of K labels for N pixels, got shape {unary.shape}")
    if not np.isfinite(unary).all():
        raise ValueError("unary holds values that are not finite; clip the probabilities before taking their logarithm")
    return unary


def _checked_compatibility(compatibility, k, dtype):
    value = np.asarray(compatibility, dtype)
    if value.shape not in ((), (k,), (k, k)):
        raise ValueError(
            f"compatibility must be a number, ({k},) or ({k}, {k}) for {k} labels, got shape {value.shape}"
        )
    if not np.isfinite(value).all():
        raise ValueError("compatibility must be finite")
    return value


def _applied(gaussian, q):
    """A q, by a filter of another dtype in its own."""
    if gaussian.dtype == q.dtype:
        return gaussian.apply(q)
    device, k = gaussian.device, kernels.load(gaussian.device)
    cast = kernels.to_device(k.to_numpy(q).astype(gaussian.dtype), device)
    return kernels.to_device(k.to_numpy(gaussian.apply(cast)).astype(q.dtype), device)
