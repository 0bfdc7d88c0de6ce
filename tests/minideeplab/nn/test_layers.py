"""Modules: names, modes, state, first values, dropout streams."""

import numpy as np
import pytest

from minideeplab import Tensor, nn, no_grad


class Small(nn.Module):
    def __init__(self):
        self.stem = nn.ConvNorm(3, 4, 3, activation="relu")
        self.stages = [nn.Sequential(nn.Conv2d(4, 4, 1, bias=True), nn.Dropout(0.5)), nn.SeparableConv2d(4, 5)]
        self.nothing = None

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x


NAMES = [
    "stem.conv.weight",
    "stem.norm.gamma",
    "stem.norm.beta",
    "stages.0.layers.0.weight",
    "stages.0.layers.0.bias",
    "stages.1.depthwise.weight",
    "stages.1.depthwise_norm.gamma",
    "stages.1.depthwise_norm.beta",
    "stages.1.pointwise.weight",
    "stages.1.pointwise_norm.gamma",
    "stages.1.pointwise_norm.beta",
]
BUFFERS = [
    f"{norm}.running_{statistic}"
    for norm in ("stem.norm", "stages.1.depthwise_norm", "stages.1.pointwise_norm")
    for statistic in ("mean", "var")
]


def images(*shape, dtype=np.float32):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(dtype))


# ---------------------------------------------------------------- names and modes


def test_parameters_and_buffers_have_names_in_order_of_definition():
    model = Small()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [name for name, _ in model.named_buffers()] == BUFFERS
    assert [id(p) for p in model.parameters()] == [id(p) for _, p in model.named_parameters()]
    names = [name for name, _ in model.named_modules()]
    assert names[:5] == ["", "stem", "stem.conv", "stem.norm", "stages.0"]


def test_only_convolution_weights_decay():
    decaying = {name for name, p in Small().named_parameters() if p.decays}
    assert decaying == {name for name in NAMES if name.endswith("weight")}


def test_train_and_eval_reach_every_module_and_return_self():
    model = Small()
    assert model.eval() is model
    assert not any(module.training for _, module in model.named_modules())
    assert model.train() is model
    assert all(module.training for _, module in model.named_modules())
    assert Small().training, "another model is not touched, and starts in training mode"


def test_modes_decide_on_batch_statistics_and_dropout():
    model, x = Small().initialise(0), images(2, 6, 6, 3)
    before = model.state_dict()
    first, second = model.eval()(x).numpy(), model(x).numpy()
    np.testing.assert_array_equal(first, second)
    after = model.state_dict()
    assert all((after[name] == before[name]).all() for name in before), "inference changes nothing"
    model.train()(x)
    assert all((model.state_dict()[name] != before[name]).any() for name in BUFFERS)


def test_astype_converts_parameters_and_buffers():
    model = Small().initialise(0)
    assert model.astype(np.float64) is model
    assert {t.dtype for _, t in [*model.named_parameters(), *model.named_buffers()]} == {np.dtype(np.float64)}
    assert model(images(1, 5, 5, 3, dtype=np.float64)).dtype == np.float64


# ---------------------------------------------------------------- state


def test_state_goes_round():
    model, other, x = Small().initialise(0), Small().initialise(1), images(2, 6, 6, 3)
    model(x)  # moves the running statistics
    state = model.state_dict()
    assert list(state) == [n for n, _ in model._named((nn.Parameter, nn.Buffer))]
    assert set(state) == {*NAMES, *BUFFERS}
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.eval()(x).numpy(), model.eval()(x).numpy())


def test_state_is_a_copy_both_ways():
    model = Small().initialise(0)
    state = model.state_dict()
    kept = state[NAMES[0]].copy()
    model.load_state_dict(state)
    state[NAMES[0]][:] = 7
    np.testing.assert_array_equal(model.stem.conv.weight.data, kept)
    taken = model.state_dict()
    model.stem.conv.weight.data[:] = 9
    np.testing.assert_array_equal(taken[NAMES[0]], kept)


def test_load_state_dict_lists_all_faults_and_loads_nothing():
    model = Small().initialise(0)
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    del state["stem.norm.beta"]
    state["extra.weight"] = np.zeros((2, 3))
    state["stem.conv.weight"] = np.zeros((1, 1, 3, 4))
    with pytest.raises(ValueError, match="load_state_dict: 3 entries do not fit") as error:
        model.load_state_dict(state)
    assert str(error.value).splitlines()[1:] == [
        "  missing: stem.norm.beta (4,)",
        "  shape of stem.conv.weight: model (3, 3, 3, 4), file (1, 1, 3, 4)",
        "  unknown: extra.weight (2, 3)",
    ]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_long_lists_of_faults_are_cut():
    state = {f"x{i:02}": np.zeros(1) for i in range(30)}
    with pytest.raises(ValueError, match=rf"{30 + 17} entries do not fit(.|\n)*and 27 more"):
        Small().load_state_dict(state)


# ---------------------------------------------------------------- first values


def test_first_values_depend_on_seed_and_name_only():
    class Larger(Small):
        def __init__(self):
            self.before = nn.Conv2d(2, 2, 1)
            super().__init__()

    small, again = Small().initialise(3).state_dict(), Small().initialise(3).state_dict()
    larger, other = Larger().initialise(3).state_dict(), Small().initialise(4).state_dict()
    for name, array in small.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_array_equal(array, larger[name])
        assert array.dtype == np.float32
        if name.endswith("weight"):
            assert (array != other[name]).all()


def test_two_layers_of_one_shape_differ():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)).initialise(0)
    first, second = model.parameters()
    assert (first.data != second.data).all()


def test_batch_norm_starts_as_the_identity_and_biases_at_zero():
    state = Small().initialise(0).state_dict()
    for name, array in state.items():
        if name.endswith(("gamma", "running_var")):
            assert (array == 1).all()
        elif name.endswith(("beta", "bias", "running_mean")):
            assert (array == 0).all()


def test_he_normal_keeps_the_variance():
    values = nn.he_normal(np.random.default_rng(0), (3, 3, 64, 100))
    assert values.mean() == pytest.approx(0, abs=4 * values.std() / np.sqrt(values.size))
    assert values.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.01)


def test_truncated_normal_stays_within_two_deviations():
    values = nn.truncated_normal(0.05)(np.random.default_rng(0), (200, 500))
    assert 0.0999 < np.abs(values).max() <= 0.1
    assert values.std() == pytest.approx(0.05 * 0.8796, rel=0.01)  # standard deviation of N(0, 1) cut at 2
    assert values.mean() == pytest.approx(0, abs=0.001)


# ---------------------------------------------------------------- dropout


def test_dropout_differs_between_layers_and_steps_and_repeats_after_reseed():
    first, second = nn.Dropout(0.5), nn.Dropout(0.5)
    model = nn.Sequential(first, second).reseed(0)
    ones = Tensor(np.ones((1, 8, 8, 8), np.float32))
    run = [first(ones).numpy(), second(ones).numpy(), first(ones).numpy(), second(ones).numpy()]
    for i, a in enumerate(run):
        for b in run[:i]:
            assert 0.4 < (a != b).mean() < 0.6  # independent masks differ in half of the places
    model.reseed(0)
    np.testing.assert_array_equal(first(ones).numpy(), run[0])
    np.testing.assert_array_equal(second(ones).numpy(), run[1])
    assert (model.reseed(1).layers[0](ones).numpy() != run[0]).any()


def test_dropout_is_the_identity_in_inference_and_at_rate_zero():
    x = images(1, 4, 4, 2)
    assert nn.Dropout(0.5).eval()(x) is x
    assert nn.Dropout(0)(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1, float("nan")])
def test_dropout_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=rf"Dropout: rate must be in \[0, 1\), got {rate}"):
        nn.Dropout(rate)


# ---------------------------------------------------------------- layers


def test_layers_pass_their_options_on():
    x = images(1, 9, 12, 4)
    for layer, shape in [
        (nn.Conv2d(4, 6, (3, 5), stride=(2, 3), bias=True), (1, 5, 4, 6)),
        (nn.Conv2d(4, 6, 3, padding=0), (1, 7, 10, 6)),
        (nn.Conv2d(4, 6, 3, rate=3, padding=0), (1, 3, 6, 6)),
        (nn.DepthwiseConv2d(4, (5, 3), stride=2), (1, 5, 6, 4)),
        (nn.DepthwiseConv2d(4, 3, rate=2, padding=0), (1, 5, 8, 4)),
        (nn.MaxPool2d(2), (1, 4, 6, 4)),
        (nn.MaxPool2d(2, ceil_mode=True), (1, 5, 6, 4)),
        (nn.AveragePool2d(3, stride=1, padding=1), (1, 9, 12, 4)),
        (nn.SeparableConv2d(4, 6, stride=2, rate=2), (1, 5, 6, 6)),
    ]:
        assert layer(x).shape == shape


def test_a_transposed_convolution_passes_its_options_on():
    x = images(1, 5, 6, 4)
    for layer, shape in [
        (nn.ConvTranspose2d(4, 3, 2, 2, bias=True), (1, 10, 12, 3)),
        (nn.ConvTranspose2d(4, 3, 3, 2, padding=1, output_padding=1), (1, 10, 12, 3)),
        (nn.ConvTranspose2d(4, 3, (3, 2), (2, 1), padding=(1, 0), output_padding=(1, 0)), (1, 10, 7, 3)),
        (nn.ConvTranspose2d(4, 3, 3, 2, padding="same"), (1, 9, 11, 3)),
    ]:
        assert layer.initialise(0)(x).shape == shape


@pytest.mark.parametrize("activation", ["relu6", "hardswish"])
def test_a_unit_in_inference_is_its_parts_with_any_activation(activation):
    x, shortcut = images(2, 5, 5, 3, dtype=np.float64), images(2, 5, 5, 4, dtype=np.float64)
    for unit in (
        nn.ConvNorm(3, 4, 3, activation=activation),
        nn.SeparableConv2d(3, 4, 3, 1, 1, activation, activation),
    ):
        unit.initialise(0).astype(np.float64).eval()
        recorded = unit(x, shortcut).numpy()
        with no_grad():
            np.testing.assert_allclose(unit(x, shortcut).numpy(), recorded, rtol=1e-12, atol=1e-12)


def test_an_unknown_activation_is_refused_when_the_layer_is_made():
    with pytest.raises(ValueError, match="BatchNorm2d: unknown activation 'gelu'; there are None, 'relu', 'relu6' and"):
        nn.ConvNorm(3, 4, 3, activation="gelu")


def test_the_bias_is_added():
    layer = nn.Conv2d(2, 3, 1, bias=True).initialise(0)
    x = images(1, 2, 2, 2)
    without = layer(x).numpy()
    layer.bias.data = np.array([1, 2, 3], np.float32)
    np.testing.assert_allclose(layer(x).numpy(), without + [1, 2, 3], rtol=1e-6)


@pytest.mark.parametrize("activation", ["relu", None])
def test_activation_is_part_of_the_unit_only_if_asked(activation):
    x = images(2, 5, 5, 3)
    for unit in (nn.ConvNorm(3, 4, 3, activation=activation), nn.SeparableConv2d(3, 4, activation=activation)):
        assert (unit.initialise(0)(x).numpy() < 0).any() == (activation is None)
