"""Modules: names, modes, state, first values, dropout streams."""

from collections import deque

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


# ---------------------------------------------------------------- containers, shared modules, cycles


class Nested(nn.Module):
    def __init__(self):
        self.grid = [[nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)], (nn.Dropout(0.5),)]
        self.heads = {"main": nn.Conv2d(2, 3, 1), "more": {"deep": [nn.BatchNorm2d(2)]}}
        self.scales = {"first": nn.Parameter((2,), nn.ones)}
        self.options = {1: "plain values may have any key", "a.b": [1, 2]}
        self.sizes = {3, 5}


def test_nested_lists_and_dicts_are_registered():
    """They are trained, saved, switched, drawn and converted as all others."""
    model = Nested().initialise(0)
    assert [name for name, _ in model.named_parameters()] == [
        "scales.first", "grid.0.0.weight", "grid.0.1.weight", "heads.main.weight",
        "heads.more.deep.0.gamma", "heads.more.deep.0.beta",
    ]  # fmt: skip
    assert [name for name, _ in model.named_buffers()] == [f"heads.more.deep.0.running_{s}" for s in ("mean", "var")]
    other = Nested().initialise(1)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.grid[0][1].weight.data, model.grid[0][1].weight.data)
    assert (model.grid[0][1].weight.data != model.grid[0][0].weight.data).all()
    model.eval()
    assert not model.grid[1][0].training and not model.heads["more"]["deep"][0].training
    assert model.astype(np.float64).scales["first"].dtype == np.float64


def test_what_is_put_in_later_is_found():
    model = Nested()
    model.grid[1] = [nn.Conv2d(1, 1, 1)]
    model.heads["later"] = nn.Conv2d(2, 2, 1)
    model.extra = deque([nn.Conv2d(1, 1, 1)])
    names = [name for name, _ in model.named_parameters()]
    assert names[-1] == "extra.0.weight" and {"grid.1.0.weight", "heads.later.weight"} < set(names)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a.b": nn.Dropout(0)}, r"parts\.a\.b: a dict of modules needs keys of text without dots, got 'a\.b'"),
        ({3: [nn.Dropout(0)]}, "parts: a dict of modules needs keys of text without dots, got 3"),
        ({"": nn.Parameter((1,), nn.ones)}, "a dict of modules needs keys of text without dots, got ''"),
        ({nn.Dropout(0)}, "parts: a set has no order, so its modules have no lasting names; use a list or a dict"),
        ([frozenset([nn.Dropout(0)])], r"parts\.0: a set has no order"),
    ],
)
def test_what_cannot_be_named_is_refused(value, message):
    model = nn.Module()
    model.parts = value
    for use in (model.parameters, model.state_dict, model.train):
        with pytest.raises(TypeError, match=message.replace(r"parts\.a\.b", "parts")):
            use()


class Tied(nn.Module):
    def __init__(self):
        self.one = nn.Conv2d(2, 2, 1)
        self.two, self.kernel = [self.one], self.one.weight
        self.one.parent, self.loop = self, [self.one]
        self.loop.append(self.loop)

    def forward(self, x):
        return self.two[0](self.one(x))


def test_what_has_two_names_is_trained_and_saved_once():
    """A cycle, a module in two places, a parameter in two places, a list that holds itself."""
    model = Tied().initialise(0)
    assert [name for name, _ in model.named_parameters()] == ["kernel"]
    assert [name for name, _ in model.named_modules()] == ["", "one"]
    assert list(model.state_dict()) == ["kernel"]
    before = model.one.weight.data.copy()
    model(images(1, 3, 3, 2)).sum().backward()
    grad = model.one.weight.grad.copy()
    nn.SGD(model, lr=0.5, momentum=0, weight_decay=0).step()
    np.testing.assert_allclose(model.one.weight.data, before - 0.5 * grad, rtol=1e-6)


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
        "  array: expected / found",
        "  stem.norm.beta: (4,) / nothing",
        "  stem.conv.weight: (3, 3, 3, 4) / (1, 1, 3, 4)",
        "  extra.weight: nothing / (2, 3)",
    ]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_long_lists_of_faults_are_cut():
    state = Small().state_dict() | {f"x{i:02}": np.zeros(1) for i in range(30)}
    with pytest.raises(ValueError, match=r"30 entries do not fit(.|\n)*and 10 more"):
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


@pytest.mark.parametrize("activation", ["relu6", "hardswish", "hardsigmoid", "sigmoid"])
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
    with pytest.raises(ValueError, match="BatchNorm2d: unknown activation 'gelu'; there are None, 'relu', 'relu6', "):
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


def test_moving_to_where_it_is_keeps_gradients_and_another_dtype_does_not():
    layer = nn.Conv2d(3, 4, 1).initialise(0)
    layer(images(1, 2, 2, 3)).sum().backward()
    grad = layer.weight.grad
    assert layer.to("cpu").weight.grad is grad
    assert layer.astype(np.float64).weight.grad is None
    assert nn.Dropout(0.5).device == "cpu"
