"""SGD against its equations in NumPy; the poly policy."""

import numpy as np
import pytest

from minideeplab import nn
from minideeplab.nn.optim import SGD, poly, step_policy


def conv_norm(dtype=np.float64):
    return nn.ConvNorm(2, 3, 3).initialise(0).astype(dtype)


def random_gradients(module, seed):
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        p.grad = rng.standard_normal(p.shape).astype(p.dtype)


def test_poly_values():
    assert poly(0.01, 0, 100) == 0.01
    assert poly(0.01, 100, 100) == 0
    assert poly(0.01, 50, 100) == 0.01 * 0.5**0.9
    assert poly(0.01, 75, 100, power=2, end_lr=0.002) == pytest.approx(0.008 / 16 + 0.002)
    assert poly(0.01, 100, 100, end_lr=0.002) == 0.002
    rates = [poly(0.01, step, 100) for step in range(101)]
    assert rates == sorted(rates, reverse=True)


def test_step_policy_values():
    assert [step_policy(0.5, step, 2000) for step in (0, 1999, 2000, 5999)] == pytest.approx([0.5, 0.5, 0.05, 0.005])
    assert step_policy(1.0, 7, 3, factor=0.5) == 0.25
    with pytest.raises(ValueError, match="step must be >= 0 and every >= 1, got 3 and 0"):
        step_policy(0.1, 3, 0)


@pytest.mark.parametrize("step", [-1, 101])
def test_poly_outside_of_training(step):
    with pytest.raises(ValueError, match=rf"step must be in 0 .. 100, got {step}"):
        poly(0.01, step, 100)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_sgd_by_its_equations(dtype, rtol):
    module = conv_norm(dtype)
    optimiser = SGD(module, lr=0.1, momentum=0.8, weight_decay=0.05)
    expected = {name: p.data.astype(np.float64) for name, p in module.named_parameters()}
    velocity = {name: np.zeros(p.shape) for name, p in module.named_parameters()}
    for step in range(5):
        random_gradients(module, step)
        lr = None if step == 0 else 0.1 / (step + 1)
        for name, p in module.named_parameters():
            decay = 0.05 if name == "conv.weight" else 0.0  # batch norm is not decayed
            velocity[name] = 0.8 * velocity[name] + p.grad + decay * expected[name]
            expected[name] = expected[name] - (0.1 if lr is None else lr) * velocity[name]
        optimiser.step(lr)
    for name, p in module.named_parameters():
        assert p.dtype == dtype
        np.testing.assert_allclose(p.data, expected[name], rtol=rtol, atol=rtol)


def test_a_parameter_without_gradient_stays():
    module = conv_norm()
    optimiser = SGD(module, lr=0.1, weight_decay=0.5)
    random_gradients(module, 0)
    module.conv.weight.grad = None
    weight, gamma = module.conv.weight.data.copy(), module.norm.gamma.data.copy()
    optimiser.step()
    np.testing.assert_array_equal(module.conv.weight.data, weight)
    assert (module.norm.gamma.data != gamma).all()


def test_a_factor_on_the_rate_is_for_the_parameters_that_it_names():
    module, other = conv_norm(), conv_norm()
    start = module.norm.gamma.data.copy()
    one, two = SGD(module, 0.1, lr_factors={"norm.gamma": 3.0}), SGD(other, 0.1)
    for step in range(3):
        for optimiser, each in ((one, module), (two, other)):
            random_gradients(each, step)
            optimiser.step(0.2)
    np.testing.assert_allclose(module.norm.gamma.data - start, 3 * (other.norm.gamma.data - start), rtol=1e-12)
    np.testing.assert_array_equal(module.conv.weight.data, other.conv.weight.data)
    with pytest.raises(ValueError, match=r"SGD: lr_factors names head\.weight, which is no parameter"):
        SGD(module, 0.1, lr_factors={"head.weight": 2.0})


def test_zero_grad_forgets():
    module = conv_norm()
    random_gradients(module, 0)
    SGD(module, lr=0.1).zero_grad()
    assert all(p.grad is None for p in module.parameters())


def test_a_restored_optimiser_continues_with_the_same_bits():
    first, second = conv_norm(), conv_norm()
    one, other = SGD(first, lr=0.1), SGD(second, lr=0.1)
    random_gradients(first, 0)
    one.step()
    second.load_state_dict(first.state_dict())
    saved = one.state_dict()
    other.load_state_dict(saved)
    for module, optimiser in ((first, one), (second, other)):
        random_gradients(module, 1)
        optimiser.step()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert (saved["conv.weight"] != one.velocity["conv.weight"]).any(), "state_dict must copy"


def test_state_that_does_not_fit_names_the_parameters():
    optimiser = SGD(conv_norm(), lr=0.1)
    state = optimiser.state_dict()
    state["norm.gamma"] = np.zeros(4)
    state["extra"] = np.zeros(1)
    del state["norm.beta"]
    with pytest.raises(ValueError, match="SGD: the optimiser's state does not fit the model") as error:
        optimiser.load_state_dict(state)
    gamma, beta = (optimiser.parameters[name].shape for name in ("norm.gamma", "norm.beta"))
    assert str(error.value).splitlines()[2:] == [
        f"  norm.beta: {beta} / nothing", f"  norm.gamma: {gamma} / (4,)", "  extra: nothing / (1,)"
    ]  # fmt: skip


@pytest.mark.parametrize("option", ["lr", "momentum", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_negative_settings(option, value):
    with pytest.raises(ValueError, match=rf"SGD: {option} must be >= 0, got {value}"):
        SGD(conv_norm(), **{"lr": 0.1, option: value})
