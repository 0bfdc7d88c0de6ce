"""Every op: its derivative by central differences, its adjoint, its dtype, and what it promises beyond the kernels."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from op_cases import CASES, convolution, normal

import kernels
from kernels.activation import ACTIVATIONS
from minideeplab import Tensor, ops
from minideeplab.autograd.function import Function
from minideeplab.autograd.gradcheck import check_adjoint, gradcheck

SEVERAL_INPUTS = {name: case for name, case in CASES.items() if len(case[1][1]) > 1}


def parametrised(cases):
    return pytest.mark.parametrize(("op", "case"), cases.values(), ids=[name.replace(" ", "-") for name in cases])


def test_every_op_has_a_case():
    classes = {c for _, c in inspect.getmembers(ops, inspect.isclass) if issubclass(c, Function)}
    in_file = classes - {Function, ops.Normalising}  # these two are no ops, but what ops share
    no_case = {ops.NormalisedConv2d, ops.NormalisedSeparableConv2d, ops.ToBfloat16, ops.ToFloat32}  # test_precision.py
    assert in_file == {op for op, _ in CASES.values()} | no_case


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_normalised_convolution_is_for_inference_only(depthwise, activation):
    x, w = Tensor(normal(2, 5, 6, 4)), Tensor(normal(3, 3, 4, *(() if depthwise else (4,)), seed=1), requires_grad=True)
    gamma, beta = Tensor(4 * normal(4, seed=2)), Tensor(normal(4, seed=3))
    mean, var = normal(4, seed=4), normal(4, seed=5) ** 2
    convolve = ops.depthwise_conv2d if depthwise else ops.conv2d
    y = ops.normalised_conv2d(x, w, gamma, beta, mean, var, activation=activation, stride=2, rate=2)
    separate = ops.activate(
        ops.batch_norm(convolve(x, w, stride=2, rate=2), gamma, beta, mean, var, training=False), activation
    )
    np.testing.assert_allclose(y.numpy(), separate.numpy(), rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="has no derivative"):
        y.sum().backward()


def test_a_depthwise_convolution_takes_no_residual():
    x, w, one = Tensor(normal(1, 5, 5, 4)), Tensor(normal(3, 3, 4)), Tensor(np.ones(4))
    with pytest.raises(ValueError, match="a depthwise convolution takes no residual"):
        ops.normalised_conv2d(x, w, one, one, np.zeros(4), np.ones(4), residual=x)


@parametrised(CASES)
def test_backward_is_the_derivative(op, case):
    function, arrays = case
    assert type(function(*(Tensor(a, requires_grad=True) for a in arrays)).node) is op
    gradcheck(function, *arrays)


def gradients(function, arrays, needs):
    """Gradients where `needs` says so, towards a fixed random direction of the output."""
    tensors = [Tensor(a, requires_grad=n) for a, n in zip(arrays, needs, strict=True)]
    result = function(*tensors)
    result.backward(np.asarray(normal(*result.shape, seed=9), result.dtype))
    return result.numpy(), [t.grad for t in tensors]


@parametrised(CASES)
def test_float32_stays_float32_and_agrees_with_float64(op, case):
    function, arrays = case
    needs = [True] * len(arrays)
    exact, exact_grads = gradients(function, arrays, needs)
    result, grads = gradients(function, [a.astype(np.float32) for a in arrays], needs)
    for got, expected in zip([result, *grads], [exact, *exact_grads], strict=True):
        assert (got.dtype, got.shape) == (np.float32, expected.shape)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * max(1, np.abs(expected).max()))


@parametrised(SEVERAL_INPUTS)
def test_each_input_alone_gets_the_same_gradient(op, case):
    function, arrays = case
    _, together = gradients(function, arrays, [True] * len(arrays))
    for i, expected in enumerate(together):
        _, alone = gradients(function, arrays, [j == i for j in range(len(arrays))])
        np.testing.assert_array_equal(alone[i], expected)
        assert all(g is None for j, g in enumerate(alone) if j != i)


LINEAR = {  # larger than a Jacobian could be: sizes that fill the kernels' register tiles and leave a remainder
    "conv": convolution(ops.conv2d, (2, 13, 19, 17), (3, 3, 17, 37)),
    "conv rate": convolution(ops.conv2d, (2, 13, 19, 9), (3, 3, 9, 33), rate=6),
    "conv stride": convolution(ops.conv2d, (2, 14, 19, 5), (7, 7, 5, 18), stride=2),
    "conv 1x1": convolution(ops.conv2d, (2, 13, 9, 35), (1, 1, 35, 49)),
    "depthwise": convolution(ops.depthwise_conv2d, (2, 13, 19, 37), (3, 3, 37), rate=3),
    "depthwise stride": convolution(ops.depthwise_conv2d, (2, 14, 19, 18), (3, 3, 18), stride=2),
    "multiply": (ops.multiply, (normal(2, 5, 6, 7), normal(2, 1, 1, 7, seed=1))),
    "add to itself": (lambda x: ops.add(x, x), (normal(3, 5, 7, 9),)),
    "sum": (ops.sum, (normal(3, 5, 7, 9),)),
    "dropout": (lambda x: ops.dropout(x, 0.3, 5), (normal(3, 5, 7, 9),)),
    "average pool": (lambda x: ops.average_pool2d(x, 3, 2, 1, True), (normal(2, 14, 19, 17),)),
    "adaptive average": (lambda x: ops.adaptive_average_pool2d(x, 3, 6), (normal(2, 14, 19, 17),)),
    "bilinear aligned": (lambda x: ops.resize_bilinear(x, 33, 29), (normal(2, 9, 11, 17),)),
    "bilinear": (lambda x: ops.resize_bilinear(x, 33, 7, False), (normal(2, 9, 11, 17),)),
    "nearest": (lambda x: ops.resize_nearest(x, 33, 7), (normal(2, 9, 11, 17),)),
    "pad": (lambda x: ops.pad(x, 3, 0, 2, 5), (normal(2, 9, 11, 17),)),
    "crop": (lambda x: ops.crop(x, 1, 3, 7, 5), (normal(2, 9, 11, 17),)),
    "concat": (lambda x: ops.concat([x, x, x]), (normal(2, 9, 11, 17),)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_ops_have_their_adjoint(name):
    function, arrays = LINEAR[name]
    for argument in range(len(arrays)):
        check_adjoint(function, *arrays, argument=argument)


axis = st.tuples(*[st.integers(1, largest) for largest in (4, 5, 3, 3)])  # size, k, stride, rate


@given(rows=axis, columns=axis, data=st.data())
def test_transposed_convolution_is_the_adjoint_of_convolution(rows, columns, data):
    """<conv_transpose2d(x), z> = <x, conv2d(z)> for any strides, rates, paddings and output paddings."""
    (h, k_h, *_), (w, k_w, *_) = rows, columns
    stride, rate = (rows[2], columns[2]), (rows[3], columns[3])
    more = tuple(data.draw(st.integers(0, s - 1)) for s in stride)
    room = [(size - 1) * s + r * (k - 1) for size, k, s, r in (rows, columns)]
    padding = tuple((p, data.draw(st.integers(0, r - p))) for r in room for p in [data.draw(st.integers(0, r))])
    x, weight = normal(2, h, w, 3), normal(k_h, k_w, 2, 3, seed=1)
    y = ops.conv_transpose2d(Tensor(x), Tensor(weight), stride, padding, more, rate).numpy()
    z = normal(*y.shape, seed=2)
    back = ops.conv2d(Tensor(z), Tensor(weight), stride, rate, padding).numpy()
    assert back.shape == x.shape
    np.testing.assert_allclose(np.vdot(y, z), np.vdot(x, back), rtol=1e-12, atol=1e-12 * abs(y * z).sum())


# ---------------------------------------------------------------- values


def test_a_transposed_convolution_by_hand():
    """Each value spreads its kernel two pixels on; output_padding adds a column that no kernel reaches."""
    x, w = Tensor(np.array([1.0, 10]).reshape(1, 1, 2, 1)), Tensor(np.array([1.0, 2, 3]).reshape(1, 3, 1, 1))

    def row(**options):
        return ops.conv_transpose2d(x, w, (1, 2), **options).numpy().ravel().tolist()

    assert row() == [1, 2, 3 + 10, 20, 30]
    assert row(output_padding=(0, 1)) == [1, 2, 13, 20, 30, 0]
    assert row(padding=(0, 1)) == row(padding="same") == [2, 13, 20]
    assert row(padding=((0, 0), (0, 2))) == [1, 2, 13]
    assert row(rate=2) == [1, 0, 2 + 10, 0, 3 + 20, 0, 30]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("adds", [True, False])
def test_a_normalised_separable_convolution_is_two_normalised_ones(fused, adds, monkeypatch):
    """In one pass, and on a backend that has no such kernel."""
    if not fused:
        monkeypatch.delattr(kernels.load("cpu"), "separable_conv2d")
    x, w, w_last = Tensor(normal(2, 9, 8, 4)), Tensor(normal(3, 3, 4, seed=1)), Tensor(normal(1, 1, 4, 6, seed=2))
    affine, affine_last = ([Tensor(normal(c, seed=s)) for s in (c, c + 1)] for c in (4, 6))
    known, known_last = ((normal(c, seed=c + 2), normal(c, seed=c + 3) ** 2, 1e-3) for c in (4, 6))
    residual, window = Tensor(normal(2, 5, 4, 6)) if adds else None, (2, 1, "same")
    y = ops.normalised_conv2d(x, w, *affine, *known, "relu", *window)
    y = ops.normalised_conv2d(y, w_last, *affine_last, *known_last, "relu6", residual=residual)
    steps = (*known, "relu"), (*known_last, "relu6")
    w.requires_grad = True
    found = ops.normalised_separable_conv2d(x, w, *affine, w_last, *affine_last, *steps, *window, residual)
    np.testing.assert_array_equal(found.numpy(), y.numpy(), strict=True)
    with pytest.raises(RuntimeError, match="has no derivative"):
        found.sum().backward()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [4, 100])  # 100: some processors read the normalised numbers in passing
def test_a_convolution_of_a_batch_norm_is_one_after_the_other(fused, training, channels, monkeypatch):
    """Result, gradients and running statistics, bit for bit, in one pass and on a backend that has no such kernel."""
    if not fused:
        for name in ("pointwise_of_batch_norm", "pointwise_of_batch_norm_grad_weight"):
            monkeypatch.delattr(kernels.load("cpu"), name)
    shapes = ((2, 6, 7, channels), (channels,), (channels,), (1, 1, channels, 101))
    arrays = [normal(*shape, seed=i).astype(np.float32) for i, shape in enumerate(shapes)]

    def one_after_the_other(x, gamma, beta, w, *options):
        return ops.conv2d(ops.batch_norm(x, gamma, beta, *options), w)

    found = []
    for function in (ops.conv2d_of_batch_norm, one_after_the_other):
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        running = np.zeros(channels, np.float32), np.ones(channels, np.float32)
        y = function(*tensors, *running, 0.1, 1e-5, "relu", training)
        (y * y).sum().backward()
        found.append([y.numpy(), *(t.grad for t in tensors), *running])
    for once, twice in zip(*found, strict=True):
        np.testing.assert_array_equal(once, twice, strict=True)


def test_what_is_refused_changes_no_running_statistics():
    x, ones = Tensor(normal(2, 5, 6, 4)), Tensor(np.ones(4))
    running = np.zeros(4), np.ones(4)
    for w in (normal(3, 3, 4, 5), normal(1, 1, 3, 5)):
        with pytest.raises(ValueError, match=r"weight must be \(1, 1, C, K\)|channels"):
            ops.conv2d_of_batch_norm(x, ones, ones, Tensor(w), *running)
    with pytest.raises(ValueError, match="gamma must have shape"):
        ops.batch_norm(x, Tensor(np.ones(3)), ones, *running)
    with pytest.raises(ValueError, match="gamma must have shape"):
        ops.conv2d_of_batch_norm(x, Tensor(np.ones(3)), ones, Tensor(normal(1, 1, 4, 5)), *running)
    np.testing.assert_array_equal(running, (np.zeros(4), np.ones(4)))


@pytest.mark.parametrize(("residual", "arrays"), [(False, 1), (True, 2)])
def test_batch_norm_keeps_its_input_and_what_a_residual_hides(residual, arrays):
    """Its derivative needs x alone; after a residual also the result, which shows relu's, or the residual."""
    kept = {}
    for activation in ACTIVATIONS:
        x, shortcut = Tensor(normal(1, 4, 5, 3), requires_grad=True), Tensor(normal(1, 4, 5, 3, seed=1))
        one, zero = Tensor(np.ones(3)), Tensor(np.zeros(3))
        y = ops.batch_norm(
            x, one, zero, np.zeros(3), np.ones(3), activation=activation, residual=shortcut if residual else None
        )
        kept[activation] = sum(a is not None and a.shape == x.shape for a in y.node.saved)
    assert kept == {activation: arrays if activation else 1 for activation in ACTIVATIONS}


def test_no_activation_is_no_op():
    x = Tensor(normal(2, 3))
    assert ops.activate(x, None) is x


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_atrous_convolution_is_a_sum_of_shifted_pointwise_convolutions(rate):
    x, w = normal(2, 9, 8, 3), normal(3, 3, 3, 4, seed=1)
    around = np.pad(x, ((0, 0), (rate, rate), (rate, rate), (0, 0)))
    expected = sum(
        around[:, i * rate : i * rate + 9, j * rate : j * rate + 8] @ w[i, j] for i in range(3) for j in range(3)
    )
    np.testing.assert_allclose(ops.conv2d(Tensor(x), Tensor(w), rate=rate).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_padding_never_wins_a_maximum_nor_counts_in_a_mean():
    x = Tensor(-1 - np.abs(normal(1, 4, 4, 2)))
    assert ops.max_pool2d(x, 3, stride=1, padding=1).numpy().max() < 0
    ones = Tensor(np.ones((1, 4, 4, 2)))
    np.testing.assert_array_equal(ops.average_pool2d(ones, 3, stride=1, padding=1).numpy(), 1)


def test_pad_writes_its_value_and_crop_takes_it_away():
    x = normal(1, 2, 3, 2)
    padded = ops.pad(Tensor(x), 1, 2, 3, 4, value=7.5)
    np.testing.assert_array_equal(padded.numpy(), np.pad(x, ((0, 0), (1, 2), (3, 4), (0, 0)), constant_values=7.5))
    np.testing.assert_array_equal(ops.crop(padded, 1, 3, 2, 3).numpy(), x)


def test_dropout_keeps_the_mean_and_repeats_for_a_seed():
    x = Tensor(np.ones((1, 100, 100, 10)))
    y = ops.dropout(x, 0.25, 3).numpy()
    assert set(np.unique(y)) == {0, 1 / 0.75}
    assert abs((y == 0).mean() - 0.25) < 0.01  # seven standard deviations
    np.testing.assert_array_equal(ops.dropout(x, 0.25, 3).numpy(), y)
    assert (ops.dropout(x, 0.25, 4).numpy() != y).any()


def test_batch_norm_by_the_definition():
    x, gamma, beta = normal(2, 3, 4, 2), np.array([2.0, -1]), np.array([0.5, 3])
    running_mean, running_var = np.array([1.0, -1]), np.array([2.0, 3])
    y = ops.batch_norm(Tensor(x), Tensor(gamma), Tensor(beta), running_mean, running_var, momentum=0.25, eps=0.1)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y.numpy(), gamma * (x - mean) / np.sqrt(var + 0.1) + beta, rtol=1e-12)
    np.testing.assert_allclose(running_mean, 0.75 * np.array([1.0, -1]) + 0.25 * mean, rtol=1e-12)
    np.testing.assert_allclose(running_var, 0.75 * np.array([2.0, 3]) + 0.25 * var * 24 / 23, rtol=1e-12)


@pytest.mark.parametrize(("shape", "training"), [((2, 3, 4, 2), False), ((1, 1, 1, 2), True)])
def test_batch_norm_with_running_statistics_leaves_them_alone(shape, training):
    x, one, zero = normal(*shape), Tensor(np.ones(2)), Tensor(np.zeros(2))
    mean, var = np.array([1.0, -1]), np.array([2.0, 3])
    y = ops.batch_norm(Tensor(x), one, zero, mean, var, eps=0.0, training=training)
    np.testing.assert_allclose(y.numpy(), (x - [1, -1]) / np.sqrt([2, 3]), rtol=1e-12)
    assert (mean.tolist(), var.tolist()) == ([1, -1], [2, 3])


def test_softmax_and_its_logarithm_survive_large_logits():
    x = Tensor(np.array([[[[1e4, 1e4, -1e4]]]]))
    np.testing.assert_allclose(ops.softmax(x).numpy()[0, 0, 0], [0.5, 0.5, 0], atol=1e-15)
    np.testing.assert_allclose(ops.log_softmax(x).numpy()[0, 0, 0], [-np.log(2), -np.log(2), -2e4 - np.log(2)])


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: ops.conv2d(x, Tensor(w.data.astype(np.float32))), "x float64, weight float32"),
        (lambda x, w: ops.add(x, Tensor(x.data.astype(np.float32))), "a float64, b float32"),
        (lambda x, w: ops.multiply(Tensor(x.data.astype(np.float32)), x), "a float32, b float64"),
        (lambda x, w: ops.concat([x, Tensor(x.data.astype(np.float32))]), "float64.*float32"),
        (
            lambda x, w: ops.conv_transpose2d(x, Tensor(np.ones((3, 3, 2, 3), np.float32))),
            "conv_transpose2d: .* x float64, weight float32",
        ),
        (lambda x, w: ops.conv2d(x, w.data), "Conv2d: input 1 must be a Tensor, got ndarray"),
        (lambda x, w: ops.relu([1.0, 2.0]), "Activate: input 0 must be a Tensor, got list"),
        (lambda x, w: ops.cross_entropy(x, np.zeros((1, 5, 5))), "labels must be an integer array, got float64"),
    ],
)
def test_wrong_types(call, message):
    with pytest.raises(TypeError, match=message):
        call(Tensor(normal(1, 5, 5, 3)), Tensor(normal(3, 3, 3, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.conv2d(x, Tensor(np.ones((3, 3, 4, 2)))), r"weight expects 4 input channels but x has 3"),
        (lambda x: ops.conv2d(x, Tensor(np.ones((7, 7, 3, 2))), padding=0), "smaller than the kernel's extent 7"),
        (lambda x: ops.depthwise_conv2d(x, Tensor(np.ones((3, 3, 4)))), "weight has 4 channels but x has 3"),
        (lambda x: ops.max_pool2d(x, 2, padding=2), "padding 2 must be smaller than the window 2"),
        (lambda x: ops.conv_transpose2d(x, Tensor(np.ones((3, 3, 3, 2)))), "conv_transpose2d: weight expects 2 input"),
        (lambda x: ops.activate(x, "gelu"), "activate: unknown activation 'gelu'; there are None, 'relu', 'relu6', "),
        (lambda x: ops.dropout(x, 1.0, 0), r"rate must be in \[0, 1\), got 1.0"),
        (lambda x: ops.crop(x, 3, 0, 3, 2), "crop"),
        (lambda x: ops.concat([x, ops.crop(x, 0, 0, 2, 5)]), "concat"),
        (
            lambda x: ops.cross_entropy(x, np.full((1, 5, 5), 3)),
            r"label 3 at \(n, row, column\) = \(0, 0, 0\) is out of range: valid are 0..2 and 255",
        ),
    ],
)
def test_wrong_values(call, message):
    with pytest.raises(ValueError, match=message):
        call(Tensor(normal(1, 5, 5, 3)))
