"""One call that refines a segmentation: layouts, kinds, presets, and what each refusal says."""

import linecache
import warnings

import numpy as np
import pytest
from refine_cases import IMAGE, LOGITS, PROBABILITIES, TRUTH, H, K, W, noisy_labels
from strategies import SIMULATED, arrange, normal

from minideeplab import Tensor
from minideeplab.crf import (
    PRESETS,
    CRFLayer,
    DenseCRF2D,
    DenseField,
    LatticeFilter,
    bilateral_features,
    position_features,
    refine,
)
from minideeplab.crf.refinement import edges_of

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")

# -------------------------------------------------------------------- layouts and kinds


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["logits", "probabilities", None])
def test_labels_first_or_last_come_back_in_their_layout_and_dtype(dtype, kind):
    scores = (LOGITS if kind == "logits" else PROBABILITIES).astype(dtype)
    last, first = refine(scores, IMAGE, kind=kind), refine(scores.transpose(2, 0, 1), IMAGE, kind=kind)
    assert (last.shape, first.shape) == ((H, W, K), (K, H, W)) and last.dtype == first.dtype == dtype
    np.testing.assert_array_equal(last, first.transpose(1, 2, 0))
    expected = refine(PROBABILITIES.astype(np.float64), IMAGE)
    np.testing.assert_allclose(last, expected, atol=0.03 if dtype == np.float16 else 1e-3)
    np.testing.assert_allclose(last.sum(axis=2, dtype=np.float64), 1, atol=2e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("layout", ["F", "strided", "reversed"])
def test_any_memory_layout_is_read_and_nothing_written(layout):
    scores, image, labels = (arrange(a, layout) for a in (PROBABILITIES, IMAGE, noisy_labels()))
    for a in (scores, image, labels):
        a.flags.writeable = False
    np.testing.assert_array_equal(refine(scores, image), refine(PROBABILITIES, IMAGE))
    np.testing.assert_array_equal(refine(labels, image), refine(noisy_labels(), IMAGE))
    np.testing.assert_array_equal(scores, PROBABILITIES)
    np.testing.assert_array_equal(labels, noisy_labels())


@pytest.mark.parametrize("kind", ["logits", None])
def test_logits_are_the_probabilities_of_their_softmax(kind):
    moved = LOGITS + normal(3, (H, W, 1), dtype=np.float32)
    np.testing.assert_allclose(refine(moved, IMAGE, kind=kind), refine(PROBABILITIES, IMAGE), atol=1e-4)


def test_probabilities_may_be_zero_and_need_not_sum_to_one_if_named():
    certain = np.eye(K, dtype=np.float32)[LOGITS.argmax(axis=2)]
    assert np.isfinite(refine(certain, IMAGE)).all()
    halved = refine(PROBABILITIES / 2, IMAGE, kind="probabilities")
    np.testing.assert_allclose(halved, refine(PROBABILITIES, IMAGE), atol=1e-4)  # a number for each pixel


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16])
def test_images_of_any_kind(channels, dtype):
    """The channels are taken as they are: one more that is constant, or another dtype, changes nothing."""
    grey = IMAGE[..., 0]
    image = {None: grey, 1: grey[..., None], 3: IMAGE, 4: np.dstack([IMAGE, np.full_like(grey, 7)])}[channels]
    expected = refine(PROBABILITIES, IMAGE if channels in (3, 4) else grey[..., None])
    actual = refine(PROBABILITIES, image.astype(dtype))
    assert (actual.argmax(axis=2) == expected.argmax(axis=2)).mean() > 0.95  # the lattice of 6 dimensions is another
    if channels != 4:
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint16, np.int64])
def test_labels_in_and_labels_out(dtype):
    labels = (noisy_labels() * 3).astype(dtype)
    refined = refine(labels, IMAGE)
    assert refined.dtype == dtype and refined.shape == (H, W) and set(np.unique(refined)) == {0, 3}
    np.testing.assert_array_equal(refined, refine(labels, IMAGE, kind="labels"))


def test_labels_are_probabilities_of_their_confidence():
    labels = noisy_labels()
    changed = []
    for confidence in (0.55, 0.99):
        probabilities = np.where(labels[..., None] == np.arange(2), confidence, 1 - confidence)
        expected = refine(probabilities, IMAGE, srgb=13).argmax(axis=2)
        refined = refine(labels, IMAGE, confidence=confidence, srgb=13)
        np.testing.assert_array_equal(refined, expected)
        changed.append((refined != labels).sum())
    assert changed[0] > changed[1]


def test_the_numbers_of_the_labels_are_of_no_account():
    """Only those that occur share what is left of the confidence; truth values are labels, too."""
    labels = noisy_labels()
    labels[3:6, 4:9] = 2
    renamed = np.array([7, 200, 40])[labels]
    np.testing.assert_array_equal(refine(renamed, IMAGE), np.array([7, 200, 40])[refine(labels, IMAGE)])
    with_more = np.where(labels[..., None] == np.arange(3), 0.7, 0.3 / 2)
    np.testing.assert_array_equal(refine(with_more, IMAGE).argmax(axis=2), refine(labels, IMAGE))
    half = noisy_labels()
    np.testing.assert_array_equal(refine(half == 1, IMAGE), refine(half, IMAGE) == 1)
    assert (refine(np.full((H, W), 5), IMAGE) == 5).all()


@pytest.mark.parametrize("unknown", [255, 9])
def test_unknown_pixels_are_filled_from_what_looks_like_them(unknown):
    labels = TRUTH.copy()
    labels[4:9, 3:20] = unknown
    np.testing.assert_array_equal(refine(labels, IMAGE, unknown=unknown), TRUTH)


def test_one_label_alone():
    np.testing.assert_array_equal(refine(np.zeros((H, W), np.uint8), IMAGE), 0)
    np.testing.assert_array_equal(refine(np.full((H, W), 9, np.uint8), IMAGE), 9)
    np.testing.assert_array_equal(refine(PROBABILITIES[:1, :1], IMAGE[:1, :1]).shape, (1, 1, K))


# -------------------------------------------------------------------- settings

NUMBERS = {  # bilateral weight, sxy, srgb, smooth weight, smooth sxy, iterations, normalisation
    "deeplab-v1": (5, 50, 10, 3, 3, 10, "after"),
    "deeplab-v2": (4, 67, 3, 3, 3, 10, "after"),
    "crfasrnn": (5, 160, 3, 3, 3, 10, "after"),
    "pydensecrf": (10, 80, 13, 3, 3, 5, "symmetric"),
}


def by_hand(bilateral_weight, sxy, srgb, smooth_weight, smooth_sxy, iterations, normalisation):
    unary = -np.log(PROBABILITIES).reshape(-1, K)
    edges = [
        (LatticeFilter(position_features(H, W, smooth_sxy), normalisation), smooth_weight),
        (LatticeFilter(bilateral_features(IMAGE, sxy, srgb), normalisation), bilateral_weight),
    ]
    return DenseField(unary, edges).infer(iterations).reshape(H, W, K)


@pytest.mark.parametrize("preset", NUMBERS)
def test_presets_are_fields_with_the_numbers_of_the_papers(preset):
    np.testing.assert_array_equal(refine(PROBABILITIES, IMAGE, preset), by_hand(*NUMBERS[preset]))
    assert set(NUMBERS) == set(PRESETS)


def test_settings_change_the_preset():
    refined = refine(
        PROBABILITIES, IMAGE, bilateral_weight=2, sxy=20, srgb=30, smooth_weight=1, smooth_sxy=2, iterations=3,
        normalisation="none",
    )  # fmt: skip
    np.testing.assert_array_equal(refined, by_hand(2, 20, 30, 1, 2, 3, "none"))
    np.testing.assert_array_equal(
        refine(PROBABILITIES, IMAGE, "crfasrnn", sxy=20, srgb=None), by_hand(5, 20, 3, 3, 3, 10, "after")
    )


def test_damping_tolerance_and_report_are_those_of_inference():
    unary = -np.log(PROBABILITIES).reshape(-1, K)
    edges = [
        (LatticeFilter(position_features(H, W, 3), "after"), 3),
        (LatticeFilter(bilateral_features(IMAGE, 67, 3), "after"), 4),
    ]
    steps, expected = [], []
    q = refine(PROBABILITIES, IMAGE, damping=0.4, tolerance=0.05, iterations=50, report=steps.append)
    by_field = DenseField(unary, edges).infer(50, 0.4, 0.05, expected.append)
    np.testing.assert_array_equal(q.reshape(-1, K), by_field)
    assert steps == expected and 1 < len(steps) < 50


def test_separable_smoothness_is_close_to_that_of_the_lattice():
    rng = np.random.default_rng(4)
    image = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    scores = np.kron(rng.normal(size=(6, 8, K)), np.ones((8, 8, 1))) + rng.normal(size=(48, 64, K))
    both = [refine(scores, image, kind="logits", smoothness=name) for name in ("lattice", "separable")]
    before, after = scores.argmax(axis=2), [q.argmax(axis=2) for q in both]
    assert (after[0] == after[1]).mean() > 0.95 > (before == after[0]).mean()
    assert 0 < abs(both[0] - both[1]).max()
    one_sided = [  # smoothness alone
        refine(scores, image, kind="logits", smoothness=s, bilateral_weight=0).argmax(axis=2)
        for s in ("lattice", "separable")
    ]
    assert (one_sided[0] == one_sided[1]).mean() > 0.95


def test_a_noisy_segmentation_of_two_colours_gets_closer_to_the_truth():
    labels = noisy_labels()
    for preset in PRESETS:
        refined = refine(labels, IMAGE, preset, srgb=13)
        assert (refined != TRUTH).sum() < 0.1 * (labels != TRUTH).sum(), preset


def test_a_boundary_beside_the_edge_moves_onto_it():
    blurred = 1 / (1 + np.exp(-0.7 * (np.arange(W) - 8.0)))  # even at 8, where the colours change at 11
    scores = np.broadcast_to(np.stack([1 - blurred, blurred], axis=-1), (H, W, 2))
    assert (scores.argmax(axis=2) != TRUTH).mean() > 0.08
    np.testing.assert_array_equal(refine(scores, IMAGE, srgb=13).argmax(axis=2), TRUTH)


# -------------------------------------------------------------------- warnings and refusals


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE / 255, r"no edge will be seen: the image's values span only 0\.\d+, and srgb is 3"),
        ((IMAGE / 255 - 0.45) / 0.22, "no edge will be seen: the image's values span only 3"),
        (IMAGE > 100, "no edge will be seen: the image's values span only 1, and srgb is 3"),
        (IMAGE.astype(np.uint16) * 257, "every pixel will be an edge: the image's values span [45]"),
    ],
)
def test_an_image_of_another_range_is_warned_about(image, message):
    with pytest.warns(UserWarning, match=message):
        refine(PROBABILITIES, image)


def test_images_that_fit_are_not_warned_about(recwarn):
    for image in (IMAGE, IMAGE.astype(np.float32), IMAGE // 20, np.full_like(IMAGE, 7)):
        refine(PROBABILITIES, image)
    refine(PROBABILITIES, IMAGE / 255, srgb=0.05)
    assert not recwarn.list


def warned(call):
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return caught


LOGIT_TENSOR, DARK = Tensor(LOGITS[None]), IMAGE / 255
WARNING_CALLS = {
    "refine": lambda: refine(PROBABILITIES, DARK),
    "labels": lambda: refine(TRUTH, DARK),
    "edges_of": lambda: edges_of(DARK, PRESETS["deeplab-v2"]),
    "pydensecrf": lambda: DenseCRF2D(W, H, K).addPairwiseBilateral(80, 13, DARK, 10),
    "layer": lambda: CRFLayer(K, iterations=0)(LOGIT_TENSOR, DARK[None]),
}


@pytest.mark.parametrize("entry", WARNING_CALLS)
def test_a_warning_names_the_line_that_called_the_crf(entry):
    (warning,) = warned(WARNING_CALLS[entry])
    assert warning.filename == __file__
    assert linecache.getline(__file__, warning.lineno).strip().startswith(f'"{entry}": lambda:')


P = PROBABILITIES
NAN, INF = (np.where(np.arange(K) == 1, value, P) for value in (np.nan, -np.inf))
BRIGHT = np.where(IMAGE == IMAGE[0, 0, 0], np.inf, IMAGE)
BELOW_ZERO = TRUTH.astype(int) - 1


@pytest.mark.parametrize(
    ("scores", "image", "options", "message"),
    [
        (P, IMAGE, {"preset": "deeplab"}, "unknown preset 'deeplab'; there are deeplab-v1, deeplab-v2, crfasrnn"),
        (P, IMAGE, {"weight": 3}, "unknown setting weight; there are bilateral_weight, sxy, srgb"),
        (P, IMAGE, {"smoothness": "box"}, "smoothness must be one of lattice, separable, got 'box'"),
        (P, IMAGE, {"kind": "costs"}, "kind must be one of probabilities, logits, labels or None, got 'costs'"),
        (P, IMAGE, {"normalisation": "L2"}, "normalisation must be one of none"),
        (P, IMAGE, {"sxy": 0}, "sxy must be a number above 0, or one for each dimension, got 0"),
        (
            P,
            IMAGE,
            {"smooth_sxy": -1, "smoothness": "separable"},
            "smooth_sxy must be a number above 0, or one for each dimension, got -1",
        ),
        (P, IMAGE, {"srgb": float("nan")}, "srgb must be a number above 0, or one for each dimension, got nan"),
        (P, IMAGE, {"sxy": True}, "sxy must be a number above 0, or one for each dimension, got True"),
        (P, IMAGE, {"sxy": "a"}, "sxy must be a number above 0, or one for each dimension, got 'a'"),
        (P, IMAGE, {"bilateral_weight": -4}, "bilateral_weight must be a number, 0 or more, got -4"),
        (P, IMAGE, {"iterations": 2.5}, "iterations must be a whole number, 0 or more, got 2.5"),
        (P, IMAGE, {"smooth_sxy": 1e-7}, "choose a larger standard deviation"),
        (P, IMAGE, {"iterations": -1}, "iterations must be a whole number, 0 or more, got -1"),
        (NAN, IMAGE, {}, "scores hold values that are not finite"),
        (INF, IMAGE, {}, "scores hold values that are not finite"),
        (P, BRIGHT, {}, "the image holds values that are not finite"),
        (P, IMAGE[:-1], {}, r"\(18, 23, 4\) do not fit an image of 17 x 23: give \(H, W, K\) or \(K, H, W\)"),
        (P.transpose(1, 0, 2), IMAGE, {}, r"shape \(23, 18, 4\) do not fit an image of 18 x 23"),
        (P[None], IMAGE, {}, "do not fit an image of 18 x 23"),
        (P[..., :0], IMAGE, {}, "have no labels, a choice needs two"),
        (P[..., :1], IMAGE, {}, r"\(18, 23, 1\) have one channel, .* give \(1 - p, p\) of probabilities p"),
        (P[..., :1].transpose(2, 0, 1), IMAGE, {}, r"\(1, 18, 23\) have one channel, .* give \(1 - p, p\)"),
        (LOGITS[..., :1], IMAGE, {}, r"have one channel, .* or \(0, x\) of logits x"),
        (LOGITS[..., :1], IMAGE, {"kind": "logits"}, r"have one channel, .* or \(0, x\) of logits x"),
        (np.ones((H, W, 1)), IMAGE, {"kind": "probabilities"}, "have one channel"),
        (P[..., 0], IMAGE, {"kind": "probabilities"}, r"give \(H, W, K\) .* give \(1 - p, p\) of probabilities p"),
        (P[:0], IMAGE[:0], {}, "not empty, got shape"),
        (P, IMAGE.reshape(-1), {}, r"the image must be \(H, W\) or \(H, W, C\)"),
        (P, IMAGE.astype(complex), {}, "the image must be numbers"),
        (LOGITS, IMAGE, {"kind": "probabilities"}, r"must lie in 0\.\.1, got -.*are they logits\?"),
        (TRUTH[1:], IMAGE, {}, r"labels of shape \(17, 23\) do not fit an image of 18 x 23"),
        (BELOW_ZERO, IMAGE, {}, "labels must be 0 or more, got -1"),
        (
            TRUTH * 255,
            IMAGE,
            {},
            "labels hold the label 0 and 255, which means unknown: there is nothing to choose from",
        ),
        (np.full((H, W), 255), IMAGE, {}, "labels hold no label and 255"),
        (0.9 * P, IMAGE, {}, r"lie in 0\.\.1 but do not sum to 1 .* kind='probabilities' or 'logits'"),
        (TRUTH, IMAGE, {"confidence": 1}, "confidence must lie between 0 and 1, got 1"),
    ],
)
def test_values_that_do_not_fit_are_refused(scores, image, options, message):
    with pytest.raises(ValueError, match=message):
        refine(scores, image, **options)


@pytest.mark.parametrize(
    ("scores", "kind", "message"),
    [
        (LOGITS.astype(int), None, r"scores must be floats .*or labels \(H, W\), got int64"),
        (
            LOGITS[..., 0],
            None,
            r"labels must be integers \(H, W\), got float32 .* give \(1 - p, p\) of probabilities p",
        ),
        (LOGITS, "labels", "labels must be integers"),
    ],
)
def test_dtypes_that_do_not_fit_are_refused(scores, kind, message):
    with pytest.raises(TypeError, match=message):
        refine(scores, IMAGE, kind=kind)
