"""Models that were saved as a whole: their weights without their classes, and hostile ones that cost nothing."""

import re

import numpy as np
import pytest
from container_files import ARRAY, Call, Global, Made, Raw, assemble, legacy_bytes, same, vector, zip_bytes

from minideeplab import models
from minideeplab.errors import CheckpointError
from minideeplab.weights import load_pretrained, save_torchvision_npz
from minideeplab.weights.containers import read_weights

DATA = {"0": ARRAY.tobytes()}
W = vector(ARRAY)


def module(parameters=None, buffers=None, modules=None, name="nets Net", **more):
    """What `torch.save` writes of a module, its attributes in a dict that BUILD gives it."""
    state = {"_parameters": parameters or {}, "_buffers": buffers or {}, "_modules": modules or {}} | more
    return Raw(assemble(Global(name)) + b")\x81" + assemble(state) + b"b")


def test_names_are_paths_through_the_modules(read):
    inner = module({"weight": W, "bias": None}, {"mean": W, "count": 3})
    net = module({"scale": W}, {}, {"body": module(modules={"0": inner, "act": module(), "none": None})})
    names = ["scale", "body.0.weight", "body.0.mean"]
    for data in (zip_bytes(net, DATA), zip_bytes({"epoch": 3, "net": net}, DATA)):
        same(read(data), dict.fromkeys(names, ARRAY))


def test_layers_that_are_no_modules_are_not_passed_over(tmp_path):
    """A quantised layer keeps its weights in an object."""
    made = Made({"conv.weight": ARRAY})
    layers = {"body": made.module(), "script": made.foreign("nets Script"), "none": None}
    layers["fc"] = module(
        modules={"packed": module(packed=made.foreign("torch ScriptObject"), act=made.foreign("a b"))}
    )
    made.write(tmp_path / "weights.pth", module(modules=layers))
    found = read_weights(tmp_path / "weights.pth")
    same(found.arrays, {"body.conv.weight": ARRAY})
    assert found.unread == {
        "script": "an object of 'nets.Script'",
        "fc.packed.packed": "the packed weights of a quantised layer (torch.ScriptObject)",
    }


def test_a_quantised_head_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    save_torchvision_npz(tmp_path / "weights.npz", models.build("resnet18", width=1 / 64, num_classes=3))
    arrays = {name: torch.from_numpy(array) for name, array in np.load(tmp_path / "weights.npz").items()}
    net = torch.nn.Module()
    for name, value in arrays.items():
        *path, leaf = name.split(".")
        inner = net
        for part in path:
            if part not in inner._modules:
                inner.add_module(part, torch.nn.Module())
            inner = inner._modules[part]
        inner.register_buffer(leaf, value)
    torch.save(net, tmp_path / "weights.pth")
    load_pretrained(tmp_path / "weights.pth")
    net.fc = torch.nn.Linear(8, 3)
    quantised = torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8)
    for content in (quantised, quantised.state_dict()):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(CheckpointError, match=r"it has no 'fc\.weight'"):
            load_pretrained(tmp_path / "weights.pth")


@pytest.mark.parametrize("name_list", [["left"], Call(Global("builtins set"), (["left"],)), 3])
def test_buffers_that_are_not_kept_are_left_out(read, name_list):
    found = read(zip_bytes(module({"w": W}, {"left": W}, _non_persistent_buffers_set=name_list), DATA))
    assert found.keys() == ({"w"} if name_list != 3 else {"w", "left"})


@pytest.mark.parametrize(
    "start",
    [
        b"ccopy_reg\n_reconstructor\n(cnets\nNet\nc__builtin__\nobject\nNtR",
        b"ccopyreg\n__newobj__\n(cnets\nNet\ntR",
        b"(inets\nNet\n",
        b"(cnets\nNet\no",
        b"cnets\nNet\n)}\x92",
        b"cnets\nNet\n)R",
    ],
)
def test_each_way_to_make_an_object(read, refuses, start):
    state = assemble({"_parameters": {"w": W}, "_buffers": {}, "_modules": {}})
    same(read(zip_bytes(Raw(start + state + b"b"), DATA)), {"w": ARRAY})
    assert "refers to 'nets.Net', a program or an object without" in refuses(zip_bytes(Raw(start), DATA))


def test_attributes_that_slots_hold(read):
    holder = Raw(assemble(Global("train State")) + b")\x81" + assemble((None, {"model": {"w": W}})) + b"b")
    same(read(zip_bytes(holder, DATA)), {"w": ARRAY})


def test_a_method_of_a_model_is_the_model(read):
    """torch.save(model.state_dict, path), without brackets."""
    method = Call(Global("builtins getattr"), (module({"w": W}), "state_dict"))
    same(read(zip_bytes({"state_dict": method}, DATA)), {"w": ARRAY})


def test_a_dict_that_is_its_own_attributes(read):
    content = Raw(assemble(Global("easydict EasyDict")) + b")\x81q\x07(" + assemble("w") + assemble(W) + b"uh\x07b")
    same(read(zip_bytes(content, DATA)), {"w": ARRAY})


def test_a_model_in_the_format_before_the_zip(read):
    """Its class comes with its source text, and parameters of PyTorch 0.3 have attributes."""
    parameter = Call(Global("torch.nn.parameter Parameter"), (vector(ARRAY, legacy=True),), (True, False, {}))
    text = Raw(assemble(("module", Global("nets Net"), "net.py", "class Net: ...")) + b"Q")
    state = {"_parameters": {"w": parameter}, "_buffers": {}, "_modules": {}}
    net = Raw(assemble(text) + b")\x81" + assemble(state) + b"b")
    same(read(legacy_bytes(net, DATA)), {"w": ARRAY})


# ---------------------------------------------------------------- hostile models


def doubled(depth):
    """A module in two places of another, which is in two places of another, ..."""
    inner = assemble(module({"w": W})) + b"q\x00"
    for level in range(1, depth):
        content = {
            "_parameters": {},
            "_modules": {"a": Raw(b"h" + bytes([level - 1])), "b": Raw(b"h" + bytes([level - 1]))},
        }
        inner += b"0" + assemble(Global("nets Net")) + b")\x81" + assemble(content) + b"bq" + bytes([level])
    return Raw(inner)


def chain(depth, name="a"):
    net = assemble(module({"w": W})) + b"q\x00"
    for _ in range(depth):
        content = {"_parameters": {}, "_modules": {name: Raw(b"h\x00")}}
        net += b"0" + assemble(Global("nets Net")) + b")\x81" + assemble(content) + b"bq\x00"
    return Raw(net)


def many_around_one(count):
    """A model of 300 tensors, and many others that it is in."""
    one = assemble(module({f"w{i}": W for i in range(300)})) + b"q\x00"
    others = (assemble(f"k{i}") + assemble(module({"a": W}, modules={"b": Raw(b"h\x00")})) for i in range(count))
    return Raw(b"}(" + assemble("k") + one + b"".join(others) + b"u")


IN_ITSELF = Raw(
    assemble(Global("nets Net"))
    + b")\x81q\x00"
    + assemble({"_parameters": {}, "_modules": {"a": Raw(b"h\x00")}})
    + b"b"
)
HOSTILE = {
    "in itself": (IN_ITSELF, "modules are nested more than 100 deep in its 'nets.Net'"),
    "too deep": (chain(101), "modules are nested more than 100 deep"),
    "doubled forty times": (doubled(40), "its modules have more than 200000 parts"),
    "long names": (chain(90, "n" * 10**5), "or names beyond any network's"),
    "many copies of one dict": (
        Raw(b"}" + b"(" + b"".join(assemble(f"k{i}") + b"N" for i in range(5000)) + b"uq\x000]("
            + (assemble(Global("nets Net")) + b")\x81h\x00b") * 300 + b"e"),
        "makes objects of more than 1000000 values",
    ),
    "one model in many": (many_around_one(2000), "its modules have more than 200000 parts"),
    "parameters that are no dict": (module(3, [1], "x"), "no tensors"),
    "modules that are none": (module(modules={"a": 3, "b": {"_parameters": {"w": W}}}), "no tensors"),
    "no tensors": (module({"w": None}), "no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_models_are_refused(refuses, kind):
    content, message = HOSTILE[kind]
    assert re.search(message, refuses(zip_bytes(content, DATA)))


def test_what_is_allowed_is_read(read):
    """Just below the limits."""
    assert len(read(zip_bytes(chain(99), DATA))) == 1
    assert len(read(zip_bytes(doubled(10), DATA))) == 2**9
    assert np.array_equal(read(zip_bytes(chain(99), DATA))["a." * 99 + "w"], ARRAY)
