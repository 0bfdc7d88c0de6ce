"""The checks of derivatives find planted mistakes and say where they are."""

import re

import numpy as np
import pytest

from minideeplab import Tensor, nn, ops
from minideeplab.autograd.function import Function
from minideeplab.autograd.gradcheck import GradientError, check_adjoint, check_direction, gradcheck


class WrongAt(Function):
    """a * b, but the gradient of b is off at one element."""

    def forward(self, a, b):
        self.saved = a, b
        return a * b

    def backward(self, grad):
        a, b = self.saved
        grad_b = grad * a
        grad_b[1, 2] *= 1.001
        return grad * b, grad_b


class DoubleGradient(Function):
    """The identity with a derivative of 2."""

    def forward(self, x):
        return x.copy()

    def backward(self, grad):
        return (2 * grad,)


class NotANumber(Function):
    def forward(self, x):
        return x.copy()

    def backward(self, grad):
        return (np.full_like(grad, np.nan),)


def wrong_product(a, b):
    return WrongAt.apply(a, b)


def arrays(*shape):
    rng = np.random.default_rng(0)
    return rng.standard_normal(shape), rng.standard_normal(shape)


def test_gradcheck_names_op_argument_and_element():
    a, b = arrays(2, 3)
    message = f"wrong_product: d output[1, 2] / d b[1, 2] is {1.001 * a[1, 2]:.9g} by backward but {a[1, 2]:.6g}"
    with pytest.raises(GradientError, match=re.escape(message)):
        gradcheck(wrong_product, a, b, names=["a", "b"])
    with pytest.raises(GradientError, match=r"d argument 1\[1, 2\]"):
        gradcheck(wrong_product, a, b)


def test_gradcheck_finds_a_gradient_that_is_not_a_number():
    with pytest.raises(GradientError, match=r"d output\[0\] / d argument 0\[0\] is nan by backward"):
        gradcheck(lambda x: NotANumber.apply(x), arrays(2)[0])


def test_gradcheck_finds_a_missing_path():
    with pytest.raises(GradientError, match=r"d argument 0\[0\] is 0 by backward"):
        gradcheck(lambda x, y: ops.multiply(x.detach(), y), *arrays(2))


def test_gradcheck_accepts_what_is_right_and_leaves_the_arrays_alone():
    a, b = arrays(2, 3)
    before = a.copy(), b.copy()
    gradcheck(ops.multiply, a, b)
    np.testing.assert_array_equal((a, b), before)


def test_gradcheck_takes_the_same_array_twice():
    a, _ = arrays(3)
    gradcheck(lambda x, y: x * 2.0 + y, a, a)


def test_a_step_of_one_is_exact_for_a_linear_function():
    a, b = arrays(2, 3)
    gradcheck(ops.multiply, a, b, step=1.0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("check", [gradcheck, check_adjoint])
@pytest.mark.parametrize(
    ("bad", "kind"), [(np.ones(2, np.float32), "float32"), ([1.0], "list"), (np.arange(2), "int64")]
)
def test_inputs_must_be_float64(check, bad, kind):
    with pytest.raises(TypeError, match=f"argument 1 must be a float64 array, got {kind}"):
        check(ops.multiply, np.ones(2), bad)


def test_check_adjoint_finds_a_planted_mistake():
    x, y = arrays(2, 3)
    check_adjoint(ops.multiply, x, y, argument=1)
    with pytest.raises(GradientError, match=r"wrong_product: <f\(x\), y> = .* in argument 1"):
        check_adjoint(wrong_product, x, y, argument=1)
    with pytest.raises(GradientError, match="in argument 0"):
        check_adjoint(lambda t: DoubleGradient.apply(t), x)


class Net(nn.Module):
    """Two convolutions; `broken` plants a wrong derivative on the path to the first one's parameters only."""

    def __init__(self, broken=False):
        self.first = nn.ConvNorm(2, 3, 3)
        self.second = nn.Conv2d(3, 2, 1, bias=True)
        self.broken = broken

    def forward(self, x):
        x = self.first(x)
        return self.second(DoubleGradient.apply(x) if self.broken else x)


def loss_of(net):
    x = Tensor(np.random.default_rng(0).standard_normal((2, 4, 5, 2)))
    target = Tensor(np.random.default_rng(1).standard_normal((2, 4, 5, 2)))

    def loss():
        difference = net(x) - target
        return (difference * difference).mean()

    return loss


def test_check_direction_accepts_a_right_model_and_leaves_it_alone():
    net = Net().initialise(0).astype(np.float64)
    before = [p.data.copy() for p in net.parameters()]
    check_direction(loss_of(net), net)
    for p, expected in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, expected)


def test_check_direction_names_the_parameter():
    net = Net(broken=True).initialise(0).astype(np.float64)
    with pytest.raises(
        GradientError, match=r"Net: .* the worst parameter is first\.(conv\.weight|norm\.(gamma|beta)) \("
    ):
        check_direction(loss_of(net), net)


def test_check_direction_wants_float64():
    net = Net().initialise(0)
    with pytest.raises(TypeError, match="check_direction: argument 0 must be a float64 array, got float32"):
        check_direction(loss_of(net), net)
