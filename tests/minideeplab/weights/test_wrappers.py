"""What lies around and beside the weights of a file does not decide whether they load."""

import argparse
import collections
import datetime
import decimal
import fractions
import http
import pathlib
import pickle
import re
import time
import types
import uuid
from collections import OrderedDict

import numpy as np
import pytest
from container_files import (
    ARRAY,
    Call,
    Global,
    Persistent,
    Raw,
    assemble,
    legacy_bytes,
    same,
    storage,
    tensor,
    vector,
    zip_bytes,
)

from minideeplab.errors import CheckpointError
from minideeplab.weights.containers import read_arrays, read_weights
from minideeplab.weights.layouts import LAYOUTS
from minideeplab.weights.wrappers import PREFIXES, WRAPPERS

DATA = {"0": ARRAY.tobytes()}
STATE = {"w": vector(ARRAY)}


def states(*lengths):
    """State dicts of so many tensors each; tensor i of state k is the vector of k."""
    return [
        {f"w{i}": tensor(storage("Float", "0", 6), k, (), ()) for i in range(count)} for k, count in enumerate(lengths)
    ]


def chosen(found):
    """The number of the state that was taken."""
    return int(next(iter(found.values())))


# --- around the weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", WRAPPERS)
def test_a_wrapper_is_taken_off(read, key):
    same(read(zip_bytes({"epoch": 3, key: STATE, "loss": 0.5}, DATA)), {"w": ARRAY})


@pytest.mark.parametrize("keys", [("model", "state_dict"), ("ema", "module"), ("net", "net", "weights")])
def test_nested_wrappers_are_taken_off(read, keys):
    content = STATE
    for key in reversed(keys):
        content = {"epoch": 3, key: content}
    same(read(zip_bytes(content, DATA)), {"w": ARRAY})


def test_the_most_tensors_are_the_weights(read):
    few, many = states(2, 3)
    assert chosen(read(zip_bytes({"model": few, "weights": many}, DATA))) == 1
    assert chosen(read(zip_bytes({"ema": few, "model": {"state_dict": many}}, DATA))) == 1
    assert chosen(read(zip_bytes(many | {"model": few}, DATA))) == 1


@pytest.mark.parametrize("averaged", ["ema", "model_ema", "params_ema", "state_dict_ema"])
def test_of_equally_many_the_average_is_taken(read, averaged):
    plain, average = states(2, 2)
    assert chosen(read(zip_bytes({"model": plain, "params": plain, averaged: average}, DATA))) == 1
    average["n_averaged"] = vector(ARRAY)
    plain["w2"] = vector(ARRAY)  # a counter is no weight
    assert chosen(read(zip_bytes({"model": plain, averaged: average}, DATA))) == 0


def test_another_key_is_taken_where_it_is_the_only_one(read, refuses):
    one, other = states(2, 2)
    assert chosen(read(zip_bytes({"epoch": 3, "student": other, "optimizer": {"state": {}}}, DATA))) == 1
    assert chosen(read(zip_bytes({"student": other, "random_state": vector(ARRAY)}, DATA))) == 1
    message = refuses(zip_bytes({"student": one, "teacher": other}, DATA))
    assert "several networks, under 'student', 'teacher'; keep one of them" in message
    assert "torch.load(path, weights_only=False)['student'] with torch.save" in message


def test_wrappers_in_themselves_come_to_an_end(refuses):
    loop = b"".join(assemble(key) + b"h\x00s" for key in WRAPPERS)
    assert "no tensors under" in refuses(zip_bytes(Raw(b"}q\x00" + loop), DATA))


def test_a_dict_of_many_names_is_counted_once(read):
    """20000 names of one dict of 20000 tensors."""
    first = assemble(vector(ARRAY)) + b"q\x01"
    many = b"".join(assemble(f"w{i}") + (b"h\x01" if i else first) for i in range(20000))
    names = b"".join(assemble(f"k{i}") + b"h\x02" for i in range(20000))
    content = Raw(b"}(X\x01\x00\x00\x00a}(" + many + b"uq\x02" + names + b"u")
    assert len(read(zip_bytes(content, DATA))) == 20000


def test_a_long_name_in_many_dicts_costs_little(refuses):
    """1000 dicts of one tensor each, under a name of a million components."""
    first = b"}" + assemble("." * 10**6) + b"q\x01" + assemble(vector(ARRAY)) + b"q\x02s"
    others = b"".join(assemble(f"k{i}") + (b"}h\x01h\x02s" if i else first) for i in range(1000))
    start = time.perf_counter()
    assert "weights of several networks" in refuses(zip_bytes(Raw(b"}(" + others + b"u"), DATA))
    assert time.perf_counter() - start < 5


PREFIXED = ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.", "model.net._orig_mod."]


@pytest.mark.parametrize("prefix", PREFIXED)
@pytest.mark.parametrize("averaged", [False, True])
def test_prefixes_are_taken_off_in_any_order(read, prefix, averaged):
    content = {f"{prefix}w": vector(ARRAY), f"{prefix}b": vector(ARRAY), f"{prefix}arch": "resnet18"}
    if averaged:
        content["n_averaged"] = tensor(storage("Float", "0", 6), 5, (), ())
    same(read(zip_bytes(content, DATA)), {"w": ARRAY, "b": ARRAY})


def test_a_name_of_a_million_prefixes_costs_little(read):
    (name,) = read(zip_bytes({"module." * 10**6 + "w": vector(ARRAY)}, DATA))
    assert 10**6 - 10 < name.count("module.") < 10**6


@pytest.mark.parametrize("name", ["backbone.w", "module", "module.", "models.w", "features.w"])
def test_other_beginnings_stay(read, name):
    same(read(zip_bytes({name: vector(ARRAY)}, DATA)), {name: ARRAY})


def test_prefixes_of_an_npz_and_safetensors(tmp_path):
    np.savez(tmp_path / "a.npz", **{"_orig_mod.w": ARRAY, "_orig_mod.b": ARRAY})
    same(read_arrays(tmp_path / "a.npz"), {"w": ARRAY, "b": ARRAY})


def test_no_layout_begins_with_a_prefix():
    names = ("stem.conv.weight", "stages.0.layers.0.conv1.conv.weight", "blocks.0.convs.0.conv.weight", "norm.gamma")
    names = [f"backbone.{name}" for name in names]
    names += ["head.weight", "aspp.project.conv.weight", "decoder.reduce.conv.weight", "branches.0.weight"]
    for layout in LAYOUTS:
        assert not any(layout.stored_name(name).startswith(PREFIXES) for name in names)
        assert not any(re.match(mark, prefix) for mark in layout.marks for prefix in PREFIXES)


# --- beside the weights ----------------------------------------------------------------------------------------------

BESIDE = [
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    pathlib.PurePosixPath("/runs"),
    pathlib.PureWindowsPath("c:/runs"),
    argparse.Namespace(lr=0.1),
    types.SimpleNamespace(a=[1], b={"c": None}),
    http.HTTPStatus.OK,
    uuid.UUID(int=5),
    decimal.Decimal("0.1"),
    fractions.Fraction(1, 3),
    collections.Counter("aab"),
    collections.defaultdict(list, a=[1]),
    collections.deque([1]),
    OrderedDict(a=1),
    np.float64(0.5),
    np.arange(3),
    np.dtype("float32"),
    np.mean,
    2**3000,
    -(2**40),
    1j,
    0.1,
    True,
    None,
    range(3),
    slice(1, 2),
    {1, 2},
    frozenset([3]),
    b"bytes" * 100,
    bytearray(b"more"),
    "é\n" * 200,
    ("a", ("b", [])),
    {("a", 1): 2, None: 3, "k": {}},
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_of_any_class_lie_beside_the_weights(read, protocol):
    """Written by Python itself, in each of its protocols; nothing of it is looked up."""
    data = pickle.dumps(BESIDE, protocol)
    content = {"date": Raw(data[2 if protocol >= 2 else 0 : -1]), "model": STATE}
    same(read(zip_bytes(content, DATA)), {"w": ARRAY})
    same(read(legacy_bytes({"date": content["date"], "net": {"w": vector(ARRAY, legacy=True)}}, DATA)), {"w": ARRAY})


def test_each_instruction_of_an_object(read):
    """INST, OBJ and NEWOBJ_EX make objects; POP, POP_MARK and DUP move values; EXT names one by a number."""
    content = {
        "inst": Raw(b"(K\x01ios\nsystem\n"),
        "obj": Raw(b"(cos\nsystem\nK\x01o"),
        "newobj_ex": Raw(b"cos\nsystem\n(K\x01t}X\x01\x00\x00\x00aK\x02s\x92"),
        "set on a placeholder": Raw(b"cos\nsystem\n}b"),
        "items of a placeholder": Raw(b"cos\nsystem\nK\x01K\x02s"),
        "values of a placeholder": Raw(b"cos\nsystem\nK\x01a"),
        "pop": Raw(b"K\x01K\x020"),
        "pop of a mark": Raw(b"K\x01(K\x021"),
        "dup": Raw(b"K\x012\x86"),
        "ext": Raw(b"\x84\x01\x02\x03\x04"),
        "list and dict": Raw(b"(K\x01lK\x02(X\x01\x00\x00\x00aK\x03d\x87"),
        "model": STATE,
    }
    same(read(zip_bytes(content, DATA)), {"w": ARRAY})


def test_other_tensors_lie_beside_the_weights(tmp_path):
    complex_storage = storage("ComplexFloat", "1", 3)
    untyped = Persistent(("storage", Global("torch.storage UntypedStorage"), "2", "cpu", 6))
    short = Call(
        Global("torch._utils _rebuild_tensor_v3"),
        (untyped, 0, (3,), (1,), False, OrderedDict(), Global("torch uint16"), {}),
    )
    content = STATE | {
        "phase": tensor(complex_storage, 0, (3,), (1,)),
        "labels": short,
        "sparse": Call(Global("torch._utils _rebuild_sparse_tensor"), (1, 2)),
        "parameter": Call(Global("torch._utils _rebuild_parameter"), (Global("x Y"), True, {})),
        "none": None,
        "epoch": 3,
        "large": 2**70,
        "text": "resnet",
    }
    (tmp_path / "w.pth").write_bytes(zip_bytes(content, DATA | {"1": bytes(24), "2": bytes(6)}))
    found = read_weights(tmp_path / "w.pth")
    same(found.arrays, {"w": ARRAY})
    assert found.unread == {
        "phase": "a tensor of complex numbers (torch.ComplexFloatStorage)",
        "labels": "an object of 'torch.uint16'",
        "sparse": "a sparse tensor (torch._utils._rebuild_sparse_tensor)",
        "parameter": "an object of 'x.Y'",
        "none": "None",
        "epoch": "3",
        "large": str(2**70),
        "text": "'resnet'",
    }


def test_a_tensor_with_attributes_is_the_tensor(read):
    plain = (storage("Float", "0", 6), 0, (6,), (1,), False, OrderedDict())
    typed = (Global("torch._utils _rebuild_tensor_v2"), Global("my Tensor"), plain, {"note": 1})
    with_state = (vector(ARRAY), True, OrderedDict(), {"note": 1})
    content = {
        "typed": Call(Global("torch._tensor _rebuild_from_type_v2"), typed),
        "state": Call(Global("torch._utils _rebuild_parameter_with_state"), with_state),
    }
    same(read(zip_bytes(content, DATA)), {"typed": ARRAY, "state": ARRAY})


def legacy_pair(kind):
    first = tensor(storage(kind, "0", 3, legacy=True), 0, (3,), (1,))
    return {"model": {"first": first, "second": vector(ARRAY, "1", legacy=True)}}


def test_the_legacy_format_steps_over_types_that_are_not_read(read, refuses):
    storages, counts = {"0": bytes(24), "1": ARRAY.tobytes()}, {"0": 3, "1": 6}
    same(read(legacy_bytes(legacy_pair("ComplexFloat"), storages, counts=counts)), {"second": ARRAY})
    message = refuses(legacy_bytes(legacy_pair("New"), storages, counts=counts))
    assert "storage '0' is a 'torch.NewStorage', of unknown size" in message


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "model": Call(Global("yolo Model"), ())}, "refers to 'yolo.Model' under 'model'.*nothing was"),
        ({"a": tensor(storage("ComplexFloat", "0", 3), 0, (3,), (1,))}, "'a' is a tensor of complex numbers"),
        (vector(ARRAY), "it holds one tensor without a name"),
        ({}, "where it has nothing"),
    ],
)  # fmt: skip
def test_nothing_but_placeholders(refuses, content, message):
    text = refuses(zip_bytes(content, DATA))
    assert re.search(message, text) and "download" not in text


def test_a_class_in_the_legacy_format(refuses):
    """Its class comes with its source text, by a persistent id of its own."""
    model = Call(Persistent(("module", Global("my Net"), "net.py", "class Net: ...")), ())
    assert "refers to 'my.Net', a program or an object without parameters" in refuses(legacy_bytes(model, {}))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"constants.pkl": b"\x80\x02).", "code/__torch__.py": bytes(1000)}, "a TorchScript program .*torch.jit.load"),
        ({"archive_format": b"pt2"}, "a program of torch.export"),
        ({".data/extern_modules": b""}, "a package of torch.package"),
    ],
)
def test_other_archives_of_pytorch_are_named_before_their_compression(refuses, members, message):
    text = refuses(zip_bytes(STATE, DATA, extra=members, compress=members))
    assert re.search(message, text) and "compressed" not in text and "download" not in text


def test_a_folder_called_code_is_no_program(read):
    same(read(zip_bytes(STATE, DATA, top="code")), {"w": ARRAY})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08\x07\x12\x07pytorch", "an ONNX model"),
        (b'{"weights": {}}', "a JSON text.*divided model"),
        (b"\x93NUMPY\x01\x00", "a single .npy array"),
        (b"\xff\xd8\xff\xe0", "starts with"),
    ],
)
def test_files_of_other_kinds_are_not_called_damaged(refuses, data, message):
    text = refuses(data)
    assert re.search(message, text) and "download the file again" not in text


def test_damage_is_called_damage(tmp_path):
    data = zip_bytes(STATE, DATA)
    (tmp_path / "w.pth").write_bytes(data[:-40])
    with pytest.raises(CheckpointError, match="copy or download the file again"):
        read_arrays(tmp_path / "w.pth")
