"""ONNX files: every network gives in onnxruntime what it gives here, at any size; what cannot be written is refused."""

import json
import sys

import numpy as np
import pytest
from export_networks import narrow, shaken, trained

from minideeplab import models
from minideeplab.autograd import ops
from minideeplab.errors import MiniDeepLabError
from minideeplab.export.onnx_file import LABELS, LOGITS, difference_in_onnxruntime, onnx_file
from minideeplab.export.onnx_graph import Graph
from minideeplab.export.sizes import Side, Size, at
from minideeplab.export.tape import NotExportedError
from minideeplab.nn import (
    BatchNorm2d,
    Conv2d,
    ConvNorm,
    ConvTranspose2d,
    DepthwiseConv2d,
    Module,
    Parameter,
    SeparableConv2d,
    truncated_normal,
)

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnxruntime")

TOLERANCE = 1e-4  # of the largest logit
SIZES = ((33, 48), (65, 33), (54, 71))  # one side of k * 16 + 1 and not, the other likewise, none
DEEP = (  # deeper forms of networks that are tried in the shallow form
    "resnet101", "resnet152", "resnet101-beta", "xception65", "xception71", "drn-d-105", "densenet169", "densenet201",
    "densenet161", "densenet-bc-250-24", "densenet-bc-190-40", "torchvision-fcn_resnet101",
    "torchvision-deeplabv3_resnet101",
)  # fmt: skip
FORMS = {  # further forms, which have other kernels
    **{f"dense {name}": (name, {"dense": True}) for name in ("resnet18", "densenet121", "vgg16", "spp-net")},
    "v3+, no aligned corners": ("deeplabv3plus", {"align_corners": False}),
    "v3+, separable, stride 8": ("deeplabv3plus", {"separable": True, "output_stride": 8}),
    "v3+ on Xception": ("deeplabv3plus", {"backbone": "xception41"}),
    "v2, no aligned corners": ("deeplabv2-resnet101", {"align_corners": False}),
    "cascade, stride 256": ("deeplabv3-cascade", {"output_stride": 256}),
    "maxima in a pyramid": ("pspnet", {"pooling": "max"}),
    "valid convolutions": ("unet", {"padding": "valid"}),
}


def check_sizes(model, sizes=SIZES, tolerance=TOLERANCE):
    """One file for all sizes, and one for the first: both give what the network gives."""
    source = trained(model)
    assert difference_in_onnxruntime(onnx_file(source), source, sizes) < tolerance
    assert difference_in_onnxruntime(onnx_file(source, sizes[0]), source, sizes[:1]) < tolerance


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in DEEP else name for name in models.NAMES]
)
def test_each_network_gives_the_same_logits(name):
    check_sizes(narrow(name))


@pytest.mark.parametrize(("name", "options"), FORMS.values(), ids=FORMS)
def test_each_form_gives_the_same_logits(name, options):
    check_sizes(narrow(name, **options))


def test_the_windows_of_a_spatial_pyramid_are_written_for_one_size():
    source = trained(narrow("spp-net", rule="window"))
    assert difference_in_onnxruntime(onnx_file(source, (224, 224)), source, [(224, 224)]) < TOLERANCE
    with pytest.raises(NotExportedError, match="spp-net"):
        onnx_file(source)


@pytest.mark.parametrize("name", ["deeplabv3plus", "segnet", "unet", "densenet121", "xception41"])
def test_batch_norm_behind_a_convolution_is_in_its_weights(name):
    graph = onnx_file(trained(narrow(name))).model.graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    behind = [makers[node.input[0]] for node in graph.node if node.op_type == "BatchNormalization"]
    assert not {"Conv", "ConvTranspose"} & set(behind)
    assert [node.op_type for node in graph.node].count("Transpose") == 1  # of the image


def test_numbers_are_float32_or_indices():
    graph = onnx.shape_inference.infer_shapes(onnx_file(trained(narrow("pspnet")), (65, 65)).model).graph
    kinds = {value.type.tensor_type.elem_type for value in graph.value_info}
    kinds |= {tensor.data_type for tensor in graph.initializer}
    types = onnx.TensorProto
    assert kinds <= {types.FLOAT, types.UINT8, types.INT64, types.BOOL}


def test_what_the_file_says_of_itself():
    source = trained(narrow("deeplabv3plus"))
    made = onnx_file(source).model
    said = {each.key: each.value for each in made.metadata_props}
    assert json.loads(said["class_names"]) == source.class_names
    assert json.loads(said["palette"]) == source.palette[:3].tolist()
    assert models.build(**json.loads(said["model"])).config == source.model.config
    assert (said["ignore_index"], said["output_stride"], said["smallest_side"]) == ("255", "16", "33")
    assert made.producer_name == "minideeplab" and "uint8" in made.doc_string
    assert [each.version for each in made.opset_import] == [17] and made.ir_version == 8
    (image,) = onnxruntime.InferenceSession(made.SerializeToString()).get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", [1, "height", "width", 3])


@pytest.mark.parametrize(("name", "shape"), [("deeplabv3plus", (1, 54, 71)), ("resnet18", (1,))])
def test_labels_are_the_first_of_the_largest_logits(name, shape):
    source = trained(narrow(name))
    made = onnx_file(source)
    image = np.random.default_rng(1).integers(0, 256, (1, 54, 71, 3), np.uint8)
    (logits,) = onnxruntime.InferenceSession(made.model.SerializeToString()).run([LOGITS], {"image": image})
    made.take_labels()
    (labels,) = onnxruntime.InferenceSession(made.model.SerializeToString()).run([LABELS], {"image": image})
    assert labels.dtype == np.uint8 and labels.shape == shape
    np.testing.assert_array_equal(labels, logits.argmax(1))


def test_of_equal_logits_the_first_has_the_label():
    source = trained(narrow("unet"))
    for t in (source.model.head.weight, source.model.head.bias):
        t.data = np.zeros_like(t.data)
    made = onnx_file(source)
    made.take_labels()
    image = np.zeros((1, 40, 50, 3), np.uint8)
    (labels,) = onnxruntime.InferenceSession(made.model.SerializeToString()).run([LABELS], {"image": image})
    assert not labels.any()


def test_a_file_for_one_size_takes_no_other():
    session = onnxruntime.InferenceSession(onnx_file(trained(narrow("unet")), (40, 50)).model.SerializeToString())
    with pytest.raises(Exception, match="dimensions"):
        session.run(None, {"image": np.zeros((1, 50, 40, 3), np.uint8)})


# ---------------------------------------------------------------- kernel by kernel


class Net(Module):
    """The layers of a test on an image, and what it does with their outputs."""

    output_stride = 4

    def __init__(self, then, *layers):
        self.then, self.layers = then, list(layers)

    def forward(self, x):
        return self.then(x, *self.layers)


class Held(Module):
    """An array of the network that is no weight of a layer."""

    def __init__(self, *shape):
        self.array = Parameter(shape, truncated_normal(1.0))


def resized(height, width, align_corners):
    return lambda x, conv: ops.resize_bilinear(conv(x), height(x.shape[1]), width(x.shape[2]), align_corners)


conv = Conv2d(3, 3, 3, bias=True)
LAYERS = {
    "a bias, then batch norm": (lambda x, a, b: b(a(x)), Conv2d(3, 4, 3, bias=True), BatchNorm2d(4, "relu")),
    "batch norm of what is read twice": (lambda x, a, b: b(y := a(x)) + y, Conv2d(3, 3, 3), BatchNorm2d(3)),
    "batch norm alone": (lambda x, a: a(x), BatchNorm2d(3, "relu6")),
    "a residual": (lambda x, a: a(x, x), ConvNorm(3, 3, 3)),
    "a residual without convolution": (lambda x, a: a(x, x), BatchNorm2d(3, "hardswish")),
    "hardswish": (lambda x, a: a(x), ConvNorm(3, 4, 3, activation="hardswish")),
    "relu6 of arithmetic": (lambda x, a: ops.activate(a(x) * 3.0 + 1.0 - x, "relu6"), Conv2d(3, 3, 1)),
    "uneven padding, rate and stride": (lambda x, a: a(x), Conv2d(3, 4, (2, 3), (2, 1), (1, 2), ((0, 1), (3, 2)))),
    "depthwise with batch norm": (lambda x, a: a(x), SeparableConv2d(3, 5, stride=2)),
    "depthwise alone": (lambda x, a: a(x), DepthwiseConv2d(3, (5, 3), (2, 1), 2)),
    "transposed": (lambda x, a: a(x), ConvTranspose2d(3, 4, (3, 4), (2, 3), (1, 2), True, output_padding=(1, 2))),
    "transposed, then batch norm": (lambda x, a, b: b(a(x)), ConvTranspose2d(3, 4, 2, 2), BatchNorm2d(4)),
    "max pooling that rounds up": (lambda x, a: ops.max_pool2d(a(x), 3, 2, 1, True), conv),
    "windows of two that round up": (lambda x, a: ops.max_pool2d(a(x), 2, 2, 0, True), conv),
    "max pooling that rounds down": (lambda x, a: ops.max_pool2d(a(x), 3, 2, 1), conv),
    "averages that round up": (lambda x, a: ops.average_pool2d(a(x), 2, 2, 0, True), conv),
    "averages at the border": (lambda x, a: ops.average_pool2d(a(x), 3, 1, 1), conv),
    "bins of averages": (lambda x, a: ops.adaptive_average_pool2d(a(x), 5, 7), conv),
    "bins of maxima": (lambda x, a: ops.adaptive_max_pool2d(a(x), 7, 3), conv),
    "the maximum": (lambda x, a: ops.adaptive_max_pool2d(a(x), 1, 1), conv),
    "one position fills all": (lambda x, a: ops.resize_bilinear(ops.global_average_pool(a(x)), *x.shape[1:3]), conv),
    "nearest": (lambda x, a: ops.resize_nearest(a(x), x.shape[1] * 2 + 1, x.shape[2] // 2), conv),
    "nearest, 14 to 2 and 49 to 7": (lambda x, a: ops.resize_nearest(ops.resize_bilinear(a(x), 14, 49), 2, 7), conv),
    "a border of ones": (lambda x, a: ops.pad(a(x), 1, 2, 3, 4, 1.0), conv),
    "cropped": (lambda x, a: ops.crop(a(x), 2, x.shape[2] // 3, x.shape[1] - 5, x.shape[2] // 2), conv),
    "softmax": (lambda x, a: ops.softmax(a(x)), conv),
    "log softmax": (lambda x, a: ops.log_softmax(a(x)), conv),
    "a constant (1, W, C), W being C": (
        lambda x, a, b: ops.adaptive_average_pool2d(a(x), 2, 3) + b.array,
        conv,
        Held(1, 3, 3),
    ),
    "joined": (lambda x, a: ops.concat([a(x), x, a(x).relu()]), conv),
    "one map by another": (lambda x, a: a(x) * ops.global_average_pool(x), conv),
    **{
        f"resized, {corners}: {name}": (resized(height, width, corners == "corners"), conv)
        for corners in ("corners", "areas")
        for name, (height, width) in {
            "larger": (lambda h: 2 * h + 3, lambda w: w * 3),
            "smaller": (lambda h: h // 3, lambda w: (w - 1) // 2),
            "to one": (lambda h: 1, lambda w: 1),
            "by much": (lambda h: 8 * h - 7, lambda w: 5 * w),
        }.items()
    },
}


@pytest.mark.parametrize(("then", "layers"), [(case[0], case[1:]) for case in LAYERS.values()], ids=LAYERS)
def test_each_kernel_gives_the_same(then, layers):
    check_sizes(shaken(Net(then, *layers).eval()), tolerance=2e-5)


@pytest.mark.parametrize("size", [None, (40, 52)], ids=["any size", "one size"])
def test_unpooling_puts_values_back_where_they_were(size):
    def then(x, a):
        y, indices = ops.max_pool2d_with_indices(a(x), 2)
        return ops.max_unpool2d(y * 2.0, indices)

    source = trained(shaken(Net(then, Conv2d(3, 4, 3)).eval()))
    if size is None:  # windows of two fit sides of even numbers only
        with pytest.raises(NotExportedError, match=r"does not run at all of the sizes.*multiples of 2.*--size H W"):
            onnx_file(source)
    else:
        assert difference_in_onnxruntime(onnx_file(source, size), source, [size]) < TOLERANCE


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (lambda x, a: ops.sum(a(x)), "sum_to has no counterpart"),
        (lambda x, a: ops.conv2d(x, a.weight) + ops.to_float32(ops.to_bfloat16(x)), "to_bfloat16 has no counterpart"),
    ],
)
def test_a_kernel_that_onnx_has_not_is_refused_by_name(then, said):
    with pytest.raises(NotExportedError, match=said):
        onnx_file(trained(Net(then, Conv2d(3, 3, 1))), (40, 40))


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 0)])
def test_the_graph_computes_whole_numbers_as_python(a, b):
    """-7 // 2 is -4 in Python and -3 in ONNX."""
    graph = Graph()
    graph.add("Identity", "image")
    sides = [Size(60, Side(0, 1)), Size(40, Side(0, 2))]
    values = [
        f(sides[a] - 50, sides[b] + 3)
        for f in (
            lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x // 7, lambda x, y: -x // 7,
            lambda x, y: x % 16, lambda x, y: -x % 16, lambda x, y: y % 5 + 2 * x // 3, lambda x, y: y,
        )
    ]  # fmt: skip
    name = graph.integers([*values, 12], lambda value, axis: ("image", axis))
    types = onnx.TensorProto
    image = onnx.helper.make_tensor_value_info("image", types.UINT8, [1, "h", "w", 3])
    output = onnx.helper.make_tensor_value_info(name, types.INT64, [len(values) + 1])
    session = onnxruntime.InferenceSession(graph.model([image], [output], "sizes", "").SerializeToString())
    for height, width in ((60, 40), (33, 95), (50, 50)):
        (found,) = session.run(None, {"image": np.zeros((1, height, width, 3), np.uint8)})
        there = dict(zip((1, 2), (height, width), strict=True))
        assert found.tolist() == [at(value, lambda side, there=there: there[side.axis]) for value in values] + [12]


def test_a_difference_is_seen():
    """The comparison that guards the command: another network is not this one."""
    source, other = trained(narrow("unet")), trained(narrow("unet"))
    weight = other.model.head.weight
    weight.data = weight.data * np.float32(1.01)
    assert difference_in_onnxruntime(onnx_file(other), source, SIZES) > 1e-3


def test_what_is_not_a_number_is_a_difference():
    source = trained(narrow("unet"))
    made = onnx_file(source)
    bias = next(each for each in made.model.graph.initializer if each.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))
    assert np.isnan(difference_in_onnxruntime(made, source, SIZES))


def test_logits_of_zero_have_no_difference():
    source = trained(narrow("unet"))
    for t in (source.model.head.weight, source.model.head.bias):
        t.data = np.zeros_like(t.data)
    assert difference_in_onnxruntime(onnx_file(source), source, SIZES) == 0


def test_another_shape_is_refused_though_it_could_be_broadcast():
    class Mean(Module):
        def __init__(self, model):
            self.model = model

        def forward(self, x):
            return ops.global_average_pool(self.model(x))

    source = trained(narrow("unet"))
    made = onnx_file(trained(Mean(source.model)), SIZES[0])
    with pytest.raises(MiniDeepLabError, match=r"have the shape \(1, 3\), not \(1, 3, 33, 48\)"):
        difference_in_onnxruntime(made, source, SIZES[:1])


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (RuntimeError("bad allocation"), MiniDeepLabError, "has not enough memory for 33 x 48 .bad allocation"),
        (RuntimeError("no kernel"), MiniDeepLabError, "cannot run 33 x 48 .no kernel.*another version"),
        (MemoryError("numpy"), MemoryError, "numpy"),
    ],
)
def test_what_onnxruntime_says_is_passed_on(monkeypatch, error, kind, said):
    class Session:
        def __init__(self, *_, **__):
            pass

        def run(self, *_):
            raise error

    source = trained(narrow("unet"))
    made = onnx_file(source, SIZES[0])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(kind, match=said):
        difference_in_onnxruntime(made, source, SIZES[:1])


def test_a_fault_of_our_own_is_not_that_of_onnxruntime(monkeypatch):
    def failing(*_):
        raise RuntimeError("our own")

    source = trained(narrow("unet"))
    made = onnx_file(source, SIZES[0])
    monkeypatch.setattr(sys.modules[onnx_file.__module__], "logits_of", failing)
    with pytest.raises(RuntimeError, match="our own"):
        difference_in_onnxruntime(made, source, SIZES[:1])


def test_a_fault_that_the_package_finds_is_to_be_reported(monkeypatch):
    def failing(*_, **__):
        raise onnx.checker.ValidationError("no such node")

    monkeypatch.setattr(onnx.checker, "check_model", failing)
    with pytest.raises(MiniDeepLabError, match=r"unet: the package onnx .* \(no such node\); report this fault"):
        onnx_file(trained(narrow("unet")), SIZES[0])
