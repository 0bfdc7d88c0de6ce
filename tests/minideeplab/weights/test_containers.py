"""Foreign weight files: what is read is exact, of files of our own making and of PyTorch's where it is installed."""

import io
from collections import OrderedDict

import numpy as np
import pytest
from container_files import (
    ARRAY,
    STORAGE_OF,
    Call,
    Global,
    Raw,
    assemble,
    legacy_bytes,
    same,
    storage,
    tensor,
    vector,
    zip_bytes,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from minideeplab.errors import CheckpointError
from minideeplab.weights.containers import read_arrays

# --- what is read is exact -------------------------------------------------------------------------------------------


@st.composite
def views(draw):
    """A storage, and a view of it by (offset, shape, strides), with any order of axes, gaps and repetitions."""
    dtype = np.dtype(draw(st.sampled_from(list(STORAGE_OF))))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    strides = tuple(draw(st.integers(0, 7)) for _ in shape)
    offset = draw(st.integers(0, 5))
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if all(shape) else 0
    numel = last + 1 + draw(st.integers(0, 3))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 2 if dtype.kind == "b" else 100, numel)
    return values.astype(dtype), offset, shape, strides


@given(cases=st.lists(views(), min_size=1, max_size=3), legacy=st.booleans())
def test_any_view_of_a_storage_is_read(tmp_path_factory, cases, legacy):
    assume(not legacy or len({case[0].itemsize for case in cases}) == 1)
    content, storages, expected = OrderedDict(), {}, {}
    for index, (values, offset, shape, strides) in enumerate(cases):
        kind = STORAGE_OF[values.dtype.name]
        content[f"t{index}"] = tensor(storage(kind, str(index), values.size, legacy), offset, shape, strides)
        storages[str(index)] = values.tobytes()
        steps = [step * values.itemsize for step in strides]
        view = np.lib.stride_tricks.as_strided(values[offset if all(shape) else 0 :], shape, steps)
        expected[f"t{index}"] = view.astype(np.float32 if view.dtype == np.float16 else view.dtype)
    data = legacy_bytes(content, storages, itemsize=cases[0][0].itemsize) if legacy else zip_bytes(content, storages)
    path = tmp_path_factory.getbasetemp() / "views.bin"
    path.write_bytes(data)
    same(read_arrays(path), expected)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_share_a_storage(read, legacy):
    base = storage("Float", "0", 6, legacy)
    content = {"row": tensor(base, 3, (3,), (1,)), "transposed": tensor(base, 0, (3, 2), (1, 3))}
    data = (legacy_bytes if legacy else zip_bytes)(content, {"0": ARRAY.tobytes()})
    found = read(data)
    same(found, {"row": ARRAY[3:], "transposed": ARRAY.reshape(2, 3).T})
    assert np.shares_memory(found["row"], found["transposed"])


@pytest.mark.parametrize("key", ["state_dict", "model_state", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_module_are_taken_off(read, key, prefix):
    state = OrderedDict({f"{prefix}w": vector(ARRAY), f"{prefix}n": vector(np.array([7]), "1")})
    state[f"{prefix}n"].arguments = (storage("Long", "1", 1), 0, (), (), False, {})
    content = state if key is None else {"epoch": 3, "best": 0.5, key: state, "optimizer": {"state": {0: {"s": None}}}}
    found = read(zip_bytes(content, {"0": ARRAY.tobytes(), "1": np.array([7]).tobytes()}))
    same(found, {"w": ARRAY, "n": np.array(7)})


def test_one_name_without_module_keeps_them_all(read):
    content = {"module.a": vector(ARRAY), "b": vector(ARRAY)}
    assert read(zip_bytes(content, {"0": ARRAY.tobytes()})).keys() == {"module.a", "b"}


def test_what_else_a_checkpoint_holds_is_not_looked_at(read):
    namespace = Raw(assemble(Global("argparse Namespace")) + b")\x81" + assemble({"lr": 0.1}) + b"b")
    score = Call(Global("numpy._core.multiarray scalar"), (Call(Global("numpy dtype"), ("f8",), (3, "<")), "x"))
    content = {"args": namespace, "best": score, "device": Call(Global("torch device"), ("cpu",))}
    content |= {"milestones": Call(Global("collections Counter"), ({30: 1},)), "model": {"a": vector(ARRAY)}}
    same(read(zip_bytes(content, {"0": ARRAY.tobytes()})), {"a": ARRAY})


def test_other_forms_of_the_same_values(read):
    """Parameters, tensors of old versions, attributes, plain numbers, and the ordered dict of Python 2."""
    base = storage("Float", "0", 6)
    old = Call(Global("torch._utils _rebuild_tensor"), (base, 0, Call(Global("torch Size"), ((2, 3),)), (3, 1)))
    pairs = [["old", old], ["parameter", Call(Global("torch._utils _rebuild_parameter"), (old, True, {}))]]
    state = Call(Global("collections OrderedDict"), ([*pairs, ["n", 7]],), {"_metadata": {"": {"version": 1}}})
    matrix = ARRAY.reshape(2, 3)
    same(read(zip_bytes(state, {"0": ARRAY.tobytes()})), {"old": matrix, "parameter": matrix})


def test_the_memo_gives_a_value_again(read):
    """Also by the instructions of protocol 4, and with an index that a real memo would be allocated up to."""
    for put, get in ((b"q\x05", b"h\x05"), (b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff"), (b"\x94", b"h\x00")):
        content = Raw(b"}" + assemble("a") + assemble(vector(ARRAY)) + put + b"s" + assemble("b") + get + b"s")
        same(read(zip_bytes(content, {"0": ARRAY.tobytes()})), {"a": ARRAY, "b": ARRAY})


def test_16_bit_floats_become_float32(read):
    values = np.array([0, -0.0, 1, -2.5, 65504, 6e-8, np.inf], np.float32)
    halves, upper = values.astype(np.float16), (values.view(np.uint32) >> 16).astype(np.uint16)
    content = {"h": vector(halves, "h"), "b": tensor(storage("BFloat16", "b", 7), 0, (7,), (1,))}
    found = read(zip_bytes(content, {"h": halves.tobytes(), "b": upper.tobytes()}))
    same(found, {"h": halves.astype(np.float32), "b": (values.view(np.uint32) & 0xFFFF0000).view(np.float32)})


def test_any_byte_but_zero_is_true(read):
    content = {"a": tensor(storage("Bool", "0", 3), 0, (3,), (1,))}
    same(read(zip_bytes(content, {"0": b"\x00\x01\x07"})), {"a": np.array([False, True, True])})


def test_npz(read):
    stream = io.BytesIO()
    arrays = {"w": np.ones((2, 3), order="F"), "module/n": np.array(7), "h": np.ones(2, np.float16)}
    beside = {"names": np.array(["a", "b"]), "options": np.array({"lr": 1}, object), "big": np.ones(3, ">f4")}
    np.savez(stream, **arrays, **beside)
    same(read(stream.getvalue()), arrays | {"h": np.ones(2, np.float32), "big": np.ones(3, np.float32)})


# --- PyTorch itself --------------------------------------------------------------------------------------------------


def torch_state(torch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    base = torch.arange(24.0)
    state = model.state_dict()
    state["transposed"] = base.reshape(4, 6).T
    state["part"] = base[5:20:3]
    state["expanded"] = base[3].expand(2, 5)
    state["parameter"] = torch.nn.Parameter(base.reshape(2, 12).double())
    state["empty"] = torch.empty(0, 3)
    state["bfloat16"] = torch.randn(5, 3).bfloat16()
    state["half"] = torch.randn(7).half()
    for dtype in (torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool):
        state[str(dtype)] = torch.tensor([[1, 0, 3]]).to(dtype)
    for index in range(60):  # more values than the short instructions of the memo can count
        state[f"more.{index}"] = torch.full((2,), float(index))
    return model, state


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("wrapped", [False, True])
def test_torch_save_is_read_equal(tmp_path, new, protocol, wrapped):
    torch = pytest.importorskip("torch")
    model, state = torch_state(torch)
    content = state
    if wrapped:
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model[0](torch.ones(1, 3, 6, 6)).sum().backward()
        optimiser.step()
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [30, 80])
        content = {
            "epoch": 3,
            "best_pred": np.float64(0.5),
            "history": np.ones(3),
            "shape": torch.Size([1, 2]),
            "device": torch.device("cpu"),
            "dtype": torch.float32,
            "done": {1, 2},
            "optimizer": optimiser.state_dict(),
            "scheduler": schedule.state_dict(),
            "state_dict": OrderedDict((f"module.{name}", value) for name, value in state.items()),
        }
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    expected = {
        name: (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).detach().numpy()
        for name, value in state.items()
    }
    same(read_arrays(path), expected)


def test_torch_files_that_are_not_weights(tmp_path):
    torch = pytest.importorskip("torch")
    path, layer = tmp_path / "layer.pth", torch.nn.Linear(2, 2)
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path)
    with pytest.raises(CheckpointError, match="'a' is a tensor of complex numbers"):
        read_arrays(path)
    torch.jit.save(torch.jit.script(layer), path)
    with pytest.raises(CheckpointError, match="a TorchScript program"):
        read_arrays(path)
