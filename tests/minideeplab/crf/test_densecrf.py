"""The interface of pydensecrf: a session as its README has it, its recorded results, and its helpers by hand."""

import numpy as np
import pytest
from places import SHARED
from scipy.special import softmax
from strategies import SIMULATED, arrange, normal

import minideeplab.crf as dcrf
from minideeplab.crf import DenseField, LatticeFilter, bilateral_features, position_features

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
RECORDED = SHARED / "data/crf_reference"
W, H, K = 20, 14, 3  # width first, as in DenseCRF2D
N = W * H
RGB = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
UNARY = (2 * normal(1, (K, N))).astype(np.float32)
MODES = tuple(zip(dcrf.NormalizationType, ("none", "before", "after", "symmetric"), strict=True))


def field_of(*edges, unary=UNARY):
    """A DenseCRF2D; each edge is (sxy, compat) or (sxy, srgb, compat), then options."""
    d = dcrf.DenseCRF2D(W, H, len(unary))
    d.setUnaryEnergy(unary)
    for *numbers, options in edges:
        if len(numbers) == 2:
            d.addPairwiseGaussian(numbers[0], compat=numbers[1], **options)
        else:
            d.addPairwiseBilateral(sxy=numbers[0], srgb=numbers[1], rgbim=RGB, compat=numbers[2], **options)
    return d


def both(**options):
    return field_of((3, 3, options), (20, 13, 10, options))


# -------------------------------------------------------------------- against pydensecrf


def test_a_session_as_in_the_readme():
    labels = np.random.default_rng(2).integers(0, 4, (H, W))
    d = dcrf.DenseCRF2D(W, H, K)
    d.setUnaryEnergy(dcrf.unary_from_labels(labels, K, gt_prob=0.7, zero_unsure=True))
    d.addPairwiseGaussian(sxy=(3, 3), compat=3, kernel=dcrf.DIAG_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC)
    d.addPairwiseBilateral(
        sxy=(80, 80), srgb=(13, 13, 13), rgbim=RGB, compat=10, kernel=dcrf.DIAG_KERNEL,
        normalization=dcrf.NORMALIZE_SYMMETRIC,
    )  # fmt: skip
    q = np.array(d.inference(5))
    assert q.shape == (K, N) and q.dtype == np.float32 and q.flags.c_contiguous
    np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-5)
    assert np.argmax(q, axis=0).reshape((H, W)).max() < K
    Q, tmp1, tmp2 = d.startInference()
    for _ in range(5):
        d.stepInference(Q, tmp1, tmp2)
        assert np.isfinite(d.klDivergence(Q))
    np.testing.assert_array_equal(Q, q)


RECORDS = ("camvid_11_sym", "camvid_11_sym_it10", "voc_21_after", "voc_21_none")


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded results of pydensecrf are not here")
@pytest.mark.parametrize("name", RECORDS)
def test_recorded_results_of_pydensecrf(name):
    record = np.load(RECORDED / f"{name}.npz")
    expected, iterations = record["Q"], int(record["iterations"])
    k, height, width = expected.shape
    mode = {name: number for number, name in MODES}[str(record["normalization"])]
    d = dcrf.DenseCRF2D(width, height, k)
    d.setUnaryEnergy(record["unary"])
    d.addPairwiseGaussian(int(record["sxy_gaussian"]), float(record["w_gaussian"]), normalization=mode)
    d.addPairwiseBilateral(
        int(record["sxy_bilateral"]), int(record["srgb"]), record["image"], float(record["w_bilateral"]),
        normalization=mode,
    )  # fmt: skip
    q = d.inference(iterations).reshape(expected.shape)
    labels = [a.argmax(axis=0) for a in (q, expected, -record["unary"].reshape(expected.shape))]
    assert (labels[1] != labels[2]).mean() > 0.1  # else nothing is tested
    assert (labels[0] == labels[1]).mean() >= 0.999
    assert abs(q - expected).max() <= (1e-4 if iterations == 1 else 1e-3)


# -------------------------------------------------------------------- the fields


@pytest.mark.parametrize(("mode", "name"), MODES)
def test_methods_are_a_field_with_the_filters_of_the_image(mode, name):
    d = field_of(((2, 5), 3, {"normalization": mode}), ((30, 20), (10, 20, 30), -np.eye(K), {"normalization": mode}))
    edges = [
        (LatticeFilter(position_features(H, W, (2, 5)), name), 3),
        (LatticeFilter(bilateral_features(RGB, (30, 20), (10, 20, 30)), name), -np.eye(K)),
    ]
    expected = DenseField(UNARY.T, edges).infer(4)
    np.testing.assert_array_equal(d.inference(4), expected.T)
    assert abs(expected - softmax(-UNARY.T, axis=1)).max() > 0.1


def test_symmetric_normalisation_is_the_default_and_the_kernel_type_changes_nothing():
    expected = both(normalization=dcrf.NORMALIZE_SYMMETRIC).inference(3)
    for options in ({}, *({"kernel": kernel} for kernel in dcrf.KernelType)):
        np.testing.assert_array_equal(both(**options).inference(3), expected)
    assert abs(both(normalization=dcrf.NORMALIZE_AFTER).inference(3) - expected).max() > 1e-3
    with pytest.raises(ValueError, match="7 is not a valid KernelType"):
        both(kernel=7)
    with pytest.raises(ValueError, match="4 is not a valid NormalizationType"):
        both(normalization=4)


def test_enums_have_the_numbers_of_pydensecrf():
    numbers = (dcrf.NO_NORMALIZATION, dcrf.NORMALIZE_BEFORE, dcrf.NORMALIZE_AFTER, dcrf.NORMALIZE_SYMMETRIC)
    assert numbers == (0, 1, 2, 3) and (dcrf.CONST_KERNEL, dcrf.DIAG_KERNEL, dcrf.FULL_KERNEL) == (0, 1, 2)


def test_a_field_can_grow_after_it_was_used():
    d = field_of((3, 3, {}))
    first = d.inference(2)
    d.addPairwiseBilateral(20, 13, RGB, 10)
    np.testing.assert_array_equal(d.inference(2), both().inference(2))
    d.setUnaryEnergy(UNARY[::-1])
    assert abs(d.inference(2) - both().inference(2)).max() > 0.1
    d.setUnaryEnergy(UNARY)
    np.testing.assert_array_equal(d.inference(2), both().inference(2))
    assert abs(first - d.inference(2)).max() > 1e-3


def test_compatibilities_are_a_weight_a_diagonal_and_a_matrix_made_symmetric():
    """As in pydensecrf a number attracts, an array is a cost."""
    expected = field_of((3, 2, {})).inference(3)
    for compat in (2.0, np.float64(2), -2 * np.ones(K), -2 * np.eye(K), 2 * (1 - np.eye(K)), (-2 * np.eye(K)).tolist()):
        np.testing.assert_allclose(field_of((3, compat, {})).inference(3), expected, atol=1e-5)
    matrix = normal(3, (K, K))
    halves = field_of((3, (matrix + matrix.T) / 2, {})).inference(3)
    np.testing.assert_allclose(field_of((3, matrix, {})).inference(3), halves, atol=1e-6)
    edge = (LatticeFilter(position_features(H, W, 3)), matrix.astype(np.float32))
    assert abs(DenseField(UNARY.T, [edge]).infer(3).T - halves).max() > 1e-3  # else nothing is tested


@pytest.mark.parametrize("compat", [3, -4 * np.ones(K), normal(4, (K, K))], ids=["number", "vector", "matrix"])
def test_points_with_the_features_of_an_image_are_its_field(compat):
    """The lattice lies differently, for the helpers have the row first: the labels agree."""
    image = np.kron(RGB[::7, ::5], np.ones((7, 5, 1)))
    grid = field_of((3, compat, {}))
    grid.addPairwiseBilateral(20, 40, image, compat)
    points = dcrf.DenseCRF(N, K)
    points.setUnaryEnergy(UNARY)
    points.addPairwiseEnergy(dcrf.create_pairwise_gaussian((3, 3), (H, W)), compat)
    points.addPairwiseEnergy(dcrf.create_pairwise_bilateral((20, 20), (40, 40, 40), image, chdim=2), compat)
    labels = [d.inference(5).argmax(axis=0) for d in (grid, points)]
    assert (labels[0] == labels[1]).mean() > 0.97 and (labels[0] != UNARY.argmin(axis=0)).mean() > 0.1
    swapped = dcrf.DenseCRF(N, K)
    swapped.setUnaryEnergy(UNARY)
    for f in (position_features(H, W, 3), bilateral_features(image, 20, 40)):
        swapped.addPairwiseEnergy(f.T, compat)
    np.testing.assert_array_equal(swapped.inference(5), grid.inference(5))  # and with its own order, all the same


def test_three_dimensional_volumes_are_points():
    shape = (3, 4, 5)
    d = dcrf.DenseCRF(60, 2)
    d.setUnaryEnergy(normal(5, (2, 60)))
    d.addPairwiseEnergy(dcrf.create_pairwise_gaussian((1, 1, 1), shape), 2)
    d.addPairwiseEnergy(dcrf.create_pairwise_bilateral((1, 1, 1), 0.5, normal(6, shape)), 2)
    np.testing.assert_allclose(d.inference(2).sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed"])
def test_any_dtype_and_layout_is_taken(dtype, layout):
    unary = np.round(UNARY).astype(dtype)
    read_only = [arrange(unary, layout), arrange(RGB.astype(dtype), layout)]
    for a in read_only:
        a.flags.writeable = False
    d = dcrf.DenseCRF2D(W, H, K)
    d.setUnaryEnergy(read_only[0])
    d.addPairwiseBilateral(20, 13, read_only[1], 10)
    np.testing.assert_array_equal(d.inference(2), field_of((20, 13, 10, {}), unary=np.round(UNARY)).inference(2))


def test_images_of_one_and_of_five_channels():
    for image in (RGB[..., 0], RGB[..., :1], np.dstack([RGB, RGB[..., :2]])):
        d = dcrf.DenseCRF2D(W, H, K)
        d.setUnaryEnergy(UNARY)
        d.addPairwiseBilateral(20, 13, image, 10)
        assert abs(d.inference(1) - softmax(-UNARY, axis=0)).max() > 0.01


def test_unaries_linear_in_features_and_none():
    weights, features = normal(7, (K, 2)), normal(8, (2, N))
    d = dcrf.DenseCRF2D(W, H, K)
    np.testing.assert_allclose(d.inference(1), 1 / K)
    for given in (
        lambda: d.setUnaryEnergy(weights, features),
        lambda: d.setUnary(dcrf.LogisticUnary(weights, features)),
    ):
        d.setUnary(dcrf.ConstUnary(UNARY))
        given()
        np.testing.assert_allclose(d.inference(0), softmax(-weights @ features, axis=0), atol=1e-6)


def test_a_field_of_one_label_is_certain_of_it():
    d = dcrf.DenseCRF2D(W, H, 1)
    d.setUnaryEnergy(UNARY[:1])
    d.addPairwiseGaussian(3, 3)
    np.testing.assert_array_equal(d.inference(3), 1)


def test_steps_are_inference():
    for niter in (0, 1, 4):
        d = both(normalization=dcrf.NORMALIZE_AFTER)
        q, tmp1, tmp2 = d.startInference()
        assert q.shape == (K, N) and q.flags.c_contiguous
        for _ in range(niter):
            d.stepInference(q, tmp1, tmp2)
        np.testing.assert_array_equal(q, d.inference(niter))


def test_kl_divergence_is_the_sum_that_pydensecrf_has():
    """Pairs counted twice, no log Z."""
    mu = normal(9, (K, K))
    d = field_of((3, 2, {}), (20, 13, mu, {"normalization": dcrf.NORMALIZE_AFTER}))
    q = softmax(normal(10, (K, N)), axis=0)
    eye = np.eye(N, dtype=np.float32)
    place = LatticeFilter(position_features(H, W, 3), "symmetric").apply(eye)
    looks = LatticeFilter(bilateral_features(RGB, 20, 13), "after").apply(eye)
    pairs = -2 * np.einsum("li,ij,lj", q, place, q) + np.einsum(
        "li,lm,ij,mj", q, (mu + mu.T) / 2, looks, q, optimize=True
    )
    np.testing.assert_allclose(d.klDivergence(q), (q * np.log(q)).sum() + (UNARY * q).sum() + pairs, rtol=1e-5)
    certain = np.eye(K, dtype=np.float32)[UNARY.argmin(axis=0)].T
    unary_alone = field_of()
    np.testing.assert_allclose(unary_alone.klDivergence(certain), UNARY.min(axis=0).sum(), rtol=1e-5)  # 0 log 0 = 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dcrf.DenseCRF(0, 2), ValueError, "at least one point and one label, got 0 and 2"),
        (lambda: dcrf.DenseCRF2D(3, 4, 0), ValueError, "at least one point and one label, got 12 and 0"),
        (lambda: both().setUnaryEnergy(UNARY.T), ValueError, r"unary energy \(Need \(3, 280\), got \(280, 3\)\)"),
        (lambda: both().setUnaryEnergy(UNARY.reshape(K, H, W)), ValueError, "Bad shape for unary energy"),
        (lambda: both().setUnaryEnergy(UNARY.astype(str)), TypeError, "unary must be numbers"),
        (lambda: both().addPairwiseEnergy(np.ones((N, 2)), 3), ValueError, r"Need \(\?, 280\), got \(280, 2\)"),
        (lambda: both().addPairwiseEnergy(np.ones(N), 3), ValueError, "Bad shape for pairwise energy"),
        (lambda: both().addPairwiseEnergy(np.ones((2, N)), np.ones((K, K, K))), ValueError, r"got shape \(3, 3, 3\)"),
        (lambda: both().addPairwiseEnergy(np.ones((2, N)), np.ones((K, 1))), ValueError, r"got shape \(3, 1\)"),
        (lambda: both().addPairwiseBilateral(3, 3, RGB.transpose(1, 0, 2), 3), ValueError, r"got \(20, 14, 3\)"),
        (lambda: both().addPairwiseBilateral(3, 3, RGB.transpose(2, 0, 1), 3), ValueError, r"got \(3, 14, 20\)"),
        (lambda: both().addPairwiseBilateral(3, 0, RGB, 3), ValueError, "sigma of the colour must be positive"),
        (lambda: both().addPairwiseBilateral(3, 1e-9, RGB, 3), ValueError, "choose a larger standard deviation"),
        (lambda: both().addPairwiseGaussian(-3, 3), ValueError, "sigma of the position must be positive"),
        (lambda: field_of((3, np.ones(K + 1), {})), ValueError, r"a number, \(3,\) or \(3, 3\), got shape \(4,\)"),
        (lambda: field_of(unary=UNARY / 0).inference(1), ValueError, "not finite; clip the probabilities"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# -------------------------------------------------------------------- helpers


def test_unary_from_labels_by_hand():
    a, b, c = np.log([1 / 0.7, 1 / 0.15, 3])
    actual = dcrf.unary_from_labels(np.array([[0, 1], [3, 2]]), 3, gt_prob=0.7)
    np.testing.assert_allclose(actual, [[c, a, b, b], [c, b, b, a], [c, b, a, b]], rtol=1e-6)
    assert actual.dtype == np.float32
    actual = dcrf.unary_from_labels(np.array([0, 2], np.uint8), 3, 0.7, zero_unsure=False)
    np.testing.assert_allclose(actual, [[a, b], [b, b], [b, a]], rtol=1e-6)


def test_unary_from_softmax_by_hand():
    sm = np.array([[[0.9, 0.25]], [[0.1, 0.75]]])
    np.testing.assert_allclose(dcrf.unary_from_softmax(sm), -np.log([[0.9, 0.25], [0.1, 0.75]]), rtol=1e-6)
    assert dcrf.unary_from_softmax(sm).dtype == np.float32
    np.testing.assert_allclose(dcrf.unary_from_softmax(sm, scale=0.5), -np.log([[0.7, 0.375], [0.3, 0.625]]), rtol=1e-6)
    certain = np.array([[1.0], [0.0]])
    np.testing.assert_allclose(dcrf.unary_from_softmax(certain), [[0], [-np.log(1e-5)]], rtol=1e-6)
    np.testing.assert_allclose(dcrf.unary_from_softmax(certain, clip=0.01), [[0], [-np.log(0.01)]], rtol=1e-6)
    np.testing.assert_allclose(dcrf.unary_from_softmax(sm, clip=None), dcrf.unary_from_softmax(sm))


def test_old_names_of_the_helpers():
    """They warn at the line of the caller; `softmax_to_unary` clips nothing, and its scale has another name."""
    labels, sm = np.array([[0, 1], [3, 2]]), np.array([[[0.9, 0.0]], [[0.1, 1.0]]])
    cases = (
        (lambda: dcrf.compute_unary(labels, 3), dcrf.unary_from_labels(labels, 3, gt_prob=0.5)),
        (lambda: dcrf.compute_unary(labels, 3, GT_PROB=0.7), dcrf.unary_from_labels(labels, 3, 0.7)),
        (lambda: dcrf.softmax_to_unary(sm), -np.log([[0.9, 1e-300], [0.1, 1]], dtype=np.float64)),
        (lambda: dcrf.softmax_to_unary(sm, GT_PROB=0.5), -np.log([[0.7, 0.25], [0.3, 0.75]])),
    )
    for call, expected in cases:
        with pytest.warns(DeprecationWarning, match="is an old name of pydensecrf; use unary_from_") as caught:
            found = call()
        assert [warning.filename for warning in caught] == [__file__] and found.dtype == np.float32
        np.testing.assert_allclose(found, np.where(expected > 600, np.inf, expected), rtol=1e-6)


def test_features_by_hand():
    rows, columns = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(
        dcrf.create_pairwise_gaussian((2, 4), (2, 3)), [np.divide(rows, 2), np.divide(columns, 4)]
    )
    image = np.arange(12).reshape(2, 3, 2)
    expected = [np.divide(rows, 2), np.divide(columns, 4), np.arange(0, 12, 2) / 5, np.arange(1, 12, 2) / 10]
    np.testing.assert_allclose(dcrf.create_pairwise_bilateral((2, 4), (5, 10), image, chdim=2), expected, rtol=1e-6)
    first = dcrf.create_pairwise_bilateral((2, 4), (5, 10), image.transpose(2, 0, 1), chdim=0)
    np.testing.assert_allclose(first, expected, rtol=1e-6)
    grey = dcrf.create_pairwise_bilateral((2, 4), 5, image[..., 0])
    np.testing.assert_allclose(grey, expected[:3], rtol=1e-6)
    assert first.dtype == grey.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dcrf.unary_from_labels([0, 1], 2, 1.0), ValueError, "gt_prob must lie between 0 and 1, got 1.0"),
        (lambda: dcrf.unary_from_labels([0.0, 1.0], 2, 0.7), TypeError, "labels must be integers, got float64"),
        (lambda: dcrf.unary_from_labels([0, 3], 2, 0.7), ValueError, r"labels lie in 0 \.\. 3, too many for 2 classes"),
        (lambda: dcrf.unary_from_labels([0, 2], 2, 0.7, False), ValueError, "too many for 2 classes"),
        (lambda: dcrf.unary_from_softmax(np.ones((2, 3)), scale=0), ValueError, r"scale must be in \(0, 1\], got 0"),
    ],
)
def test_helpers_refuse_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()
