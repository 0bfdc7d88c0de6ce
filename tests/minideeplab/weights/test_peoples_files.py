"""Weights as people have them: each kind of file in the real format, made here, and saved by PyTorch where it is there.

A kind is a function of a kit, which says how a state dict, an object and a module are written: `Made` byte by byte,
`Saved` by PyTorch itself.
"""

import argparse
import collections
import dataclasses
import datetime
import enum
import functools
import operator
import pathlib
import random
from collections import OrderedDict

import numpy as np
import pytest
from container_files import (
    ARRAY,
    Call,
    Global,
    Made,
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

from minideeplab import models
from minideeplab.errors import CheckpointError
from minideeplab.weights import load_pretrained, save_torchvision_npz
from minideeplab.weights.containers import read_arrays, read_weights

# The weights of every kind: a layer and its norm.
WEIGHTS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "conv.bias": np.array([0.5, -1], np.float32),
    "bn.running_var": np.array([1, 2], np.float32),
    "bn.num_batches_tracked": np.array(7),
}
OTHERS = {name: array + 1 for name, array in WEIGHTS.items()}  # where a file has two sets of weights


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    colour: Colour = Colour.RED


class Options(dict):
    """A dict whose items are attributes, too: of Lightning, EasyDict and others."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.__dict__ = self


class Slots:
    __slots__ = ("network",)


# ---------------------------------------------------------------- how a kind is written


class Saved:
    """The same by PyTorch."""

    def __init__(self, torch, legacy, protocol):
        self.torch, self.legacy, self.protocol = torch, legacy, protocol

    def tensor(self, array):
        return self.torch.from_numpy(np.array(array))

    def state(self, prefix="", weights=WEIGHTS):
        return OrderedDict((prefix + name, self.tensor(array)) for name, array in weights.items())

    def value(self, value):
        return value

    def foreign(self, name, *arguments, state=None):
        """One of PyTorch's own; in place of what need not be here something that is."""
        net = self.torch.nn.Linear(2, 2)
        optimiser = self.torch.optim.AdamW(net.parameters())
        net(self.torch.ones(1, 2)).sum().backward()
        optimiser.step()
        made = {
            "Adam": lambda: optimiser,
            "StepLR": lambda: self.torch.optim.lr_scheduler.StepLR(optimiser, 3),
            "GradScaler": lambda: self.torch.amp.GradScaler("cpu"),
            "device": lambda: self.torch.device("cuda", 0),
            "Size": lambda: self.torch.Size(arguments[0]),
        }
        return made.get(name.split(" ")[1], lambda: [argparse.Namespace(a=1), self.torch.float16, self.torch.strided])()

    def module(self, name, weights=WEIGHTS):
        net = self.torch.nn.Module()
        net.conv, net.bn = self.torch.nn.Conv2d(3, 2, 2), self.torch.nn.BatchNorm2d(2, affine=False)
        net.load_state_dict(self.state(weights=weights), strict=False)
        net.bn.register_buffer("running_mean", None)
        net.register_buffer("position", self.torch.ones(5), persistent=False)
        return net

    def write(self, path, content):
        options = {"_use_new_zipfile_serialization": not self.legacy, "pickle_protocol": self.protocol}
        self.torch.save(content, path, **options)


# ---------------------------------------------------------------- the kinds that load


def lightning(kit, prefix="model."):
    loops = {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}}
    best = kit.foreign("pathlib._local PosixPath", "/", "runs", "best.ckpt")
    return {
        "epoch": 3,
        "global_step": 400,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": kit.state(prefix),
        "loops": kit.value(loops),
        "callbacks": {"ModelCheckpoint{'monitor': 'val_iou'}": {"best_model_path": best, "best_model_score": ONE(kit)}},
        "optimizer_states": [{"state": {0: {"exp_avg": ONE(kit)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
        "lr_schedulers": [kit.value({"base_lrs": [0.1], "last_epoch": 3})],
        "hparams_name": "kwargs",
        "hyper_parameters": kit.value(Options(lr=0.1, data=pathlib.PurePosixPath("/data"))),
        "datamodule_hyper_parameters": kit.value(argparse.Namespace(batch_size=4)),
    }


def ONE(kit):
    return kit.tensor(np.ones(2, np.float32))


def of_objects(kit):
    """An optimiser, a schedule and a scaler, saved as they are."""
    groups = [{"params": [ONE(kit)], "lr": 0.1, "betas": (0.9, 0.999)}]
    adam = kit.foreign("torch.optim.adam Adam", state={"defaults": {}, "state": {}, "param_groups": groups})
    return {
        "epoch": 1,
        "model": kit.state(),
        "optimizer": adam,
        "scheduler": kit.foreign("torch.optim.lr_scheduler StepLR", state={"optimizer": adam, "gamma": 0.1}),
        "scaler": kit.foreign("torch.amp.grad_scaler GradScaler", state={"_init_scale": 65536.0}),
        "args": kit.foreign("utils.arguments Config", state={"lr": 0.1}),
    }


def beside(kit, value=None, named=()):
    return {"beside": kit.foreign(*named) if named else kit.value(value), "model": kit.state()}


BESIDE = {
    "paths": [pathlib.PurePosixPath("/a"), pathlib.PureWindowsPath("c:/a"), pathlib.Path("a")],
    "dates": [datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), datetime.timedelta(1), datetime.date(2024, 1, 1)],
    "arguments": argparse.Namespace(lr=0.1, out=pathlib.Path("a")),
    "numbers of NumPy": [np.float64(0.5), np.int64(1), np.bool_(True), np.float32(0.5)],
    "arrays of NumPy": [np.arange(3), np.ones((2, 2), order="F"), np.array(["a"]), np.dtype("f4")],
    "random states": [np.random.RandomState(0), np.random.default_rng(0), random.getstate()],
    "an enum": Colour.RED,
    "a dataclass": Settings(),
    "dicts of other classes": [Options(a=1), collections.Counter("aab"), OrderedDict(a=1)],
    "default dicts": [collections.defaultdict(list, a=[1]), collections.defaultdict(functools.partial(dict, a=1))],
    "functions by name": [functools.partial(max, 1), operator.itemgetter(1), np.mean, len, dict.fromkeys],
    "sets": [{1, "a"}, frozenset([2])],
    "bytes": [b"a", bytearray(b"b"), memoryview(b"c").tobytes()],
    "numbers": [1j, 2**100, -(2**40), float("nan")],
    "things of odd keys": {("a", 1): 2, None: 3, 4: {}},
}
FOREIGN = {
    "a path of Python 3.13": ("pathlib._local PosixPath", "/", "a"),
    "a path of Windows": ("pathlib WindowsPath", "c:\\", "a"),
    "a device": ("torch device", "cuda", 0),
    "a size": ("torch Size", (1, 2)),
    "OmegaConf": ("omegaconf.dictconfig DictConfig",),
    "a lambda": ("__main__ <lambda>",),
    "numbers of NumPy 1": ("numpy.core.multiarray scalar", "f8", "12345678"),
    "a class of one's own": ("models.deeplab.config Config", "x"),
}
AROUND = {
    "a state dict": lambda kit: kit.state(),
    "Lightning": lightning,
    "Lightning, net": lambda kit: lightning(kit, "net."),
    "objects of training": of_objects,
    "DataParallel": lambda kit: {"state_dict": kit.state("module."), "best_pred": 0.5},
    "compiled in DDP": lambda kit: kit.state("module._orig_mod."),
    "DDP in compiled, Lightning": lambda kit: {"state_dict": kit.state("model._orig_mod.module.")},
    "an averaged model": lambda kit: kit.state("module.") | {"n_averaged": kit.tensor(np.array(5))},
    "an average in a dict": lambda kit: {"model": kit.state(weights=OTHERS), "model_ema": kit.state("module.")},
    "params and params_ema": lambda kit: {"params": kit.state(weights=OTHERS), "params_ema": kit.state()},
    "shadow of an average": lambda kit: {"model": kit.state(weights=OTHERS), "ema": {"n": 0.9, "shadow": kit.state()}},
    "timm": lambda kit: {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": kit.state(weights=OTHERS),
        "state_dict_ema": kit.state(),
        "args": kit.value(argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("out"))),
        "amp_scaler": {"scale": 65536.0},
        "metric": kit.value(np.float64(0.5)),
    },
    "torchvision": lambda kit: {
        "model": kit.state(),
        "optimizer": {"state": {0: {"momentum_buffer": ONE(kit)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "lr_scheduler": {"last_epoch": 3, "_last_lr": [0.1]},
        "epoch": 3,
        "args": kit.value(argparse.Namespace(dataset="coco", device="cuda")),
    },
    "MMEngine": lambda kit: {"meta": {"epoch": 1, "CLASSES": ("a",)}, "state_dict": kit.state(), "message_hub": {}},
    "DeepSpeed": lambda kit: {"module": kit.state(), "dp_world_size": 4, "ds_config": {}, "optimizer": None},
    "nnU-Net": lambda kit: {"network_weights": kit.state(), "trainer_name": "t", "logging": {"a": [0.5]}},
    "a tuple": lambda kit: (kit.state(), {"state": {}, "param_groups": []}, 7),
    "one key more": lambda kit: {"checkpoint": {"epoch": 1, "model": kit.state()}},
    "None beside": lambda kit: kit.state() | {"bn.weight": None, "extra_state": None},
    "a default dict": lambda kit: state_in(kit, collections.defaultdict(list)),
    "a dict of another class": lambda kit: {"state_dict": state_in(kit, Options())},
    "a whole model": lambda kit: kit.module("torch.nn.modules.module Module"),
    "a whole model in a dict": lambda kit: {"epoch": 3, "model": kit.module("torch.nn.modules.module Module")},
    "a whole model and its average": lambda kit: {
        "model": kit.module("torch.nn.modules.module Module", OTHERS),
        "ema": kit.module("torch.nn.modules.module Module"),
    },
}  # fmt: skip
KINDS = AROUND | {name: functools.partial(beside, value=value) for name, value in BESIDE.items()}
KINDS |= {name: functools.partial(beside, named=value) for name, value in FOREIGN.items()}


def state_in(kit, empty):
    """The state as the items of a dict of a class of its own."""
    state = kit.state()
    if isinstance(kit, Made):
        items = b"".join(assemble(name) + assemble(value) for name, value in state.items())
        return Raw(kit.value(empty).instructions + b"(" + items + b"u")
    empty.update(state)
    return empty


def protocols(legacy):
    return [2, 3, 4, 5] if not legacy else [2, 4]


FORMS = [pytest.param(legacy, protocol, id=f"{'legacy' if legacy else 'zip'}{protocol}")
         for legacy in (False, True) for protocol in protocols(legacy)]  # fmt: skip


@pytest.mark.parametrize(("legacy", "protocol"), FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_made_byte_by_byte_loads(tmp_path, kind, legacy, protocol):
    kit, path = Made(WEIGHTS, legacy, protocol), tmp_path / "weights.pth"
    kit.write(path, KINDS[kind](kit))
    same(read_arrays(path), WEIGHTS)


@pytest.mark.parametrize(("legacy", "protocol"), FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_saved_by_pytorch_loads(tmp_path, kind, legacy, protocol):
    kit, path = Saved(pytest.importorskip("torch"), legacy, protocol), tmp_path / "weights.pth"
    kit.write(path, KINDS[kind](kit))
    same(read_arrays(path), WEIGHTS)


def test_python_2_wrote_names_as_bytes(tmp_path):
    """STRING instructions, latin-1 text beside, and an ordered dict that is made of a list of pairs."""
    kit, path = Made(WEIGHTS, True, 2), tmp_path / "weights.pth"
    pairs = b"".join(b"](U" + bytes([len(name)]) + name.encode() + assemble(value) + b"e"
                     for name, value in kit.state().items())  # fmt: skip
    state = Raw(b"ccollections\nOrderedDict\n](" + pairs + b"e\x85R")
    path.write_bytes(
        legacy_bytes({"author": Raw(b"U\x04Ren\xe9"), "state_dict": state}, kit.storages, counts=kit.counts)
    )
    same(read_arrays(path), WEIGHTS)


def test_types_of_16_and_64_bits(tmp_path):
    torch = pytest.importorskip("torch")
    values = {name: torch.from_numpy(np.array(array)).float() for name, array in WEIGHTS.items()}
    for dtype, exact in ((torch.float16, np.float32), (torch.bfloat16, np.float32), (torch.float64, np.float64)):
        torch.save({name: value.to(dtype) for name, value in values.items()}, tmp_path / "weights.pth")
        same(read_arrays(tmp_path / "weights.pth"), {name: array.astype(exact) for name, array in WEIGHTS.items()})


@pytest.mark.parametrize("legacy", [False, True])
def test_wrappers_of_pytorch_itself(tmp_path, legacy):
    """Averages, copies on several devices and compiled networks: their state dicts, and they themselves."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    expected = {name: value.numpy() for name, value in net.state_dict().items()}
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(net))
    compiled = torch.compile(torch.nn.DataParallel(torch.compile(net)))
    shared = torch.nn.ModuleDict({"model": net})
    for content in (
        net, averaged, torch.nn.DataParallel(net), shared, averaged.state_dict(), compiled.state_dict(), net.state_dict,
        {"state_dict": net.state_dict, "epoch": 1},
    ):  # fmt: skip
        torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=not legacy)
        same(read_arrays(tmp_path / "weights.pth"), expected)


def test_a_whole_model_has_the_names_of_its_state_dict(tmp_path):
    """Layers that are used twice, no bias, buffers that are not kept, parameters of its own, lists of layers."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Module()
    net.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False), torch.nn.BatchNorm1d(2)])
    net.again = net.layers[0]
    net.scale = torch.nn.Parameter(torch.ones(3).half())
    net.register_buffer("kept", torch.arange(3))
    net.register_buffer("left out", torch.arange(4), persistent=False)
    net.norm = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2)).parametrizations
    for protocol in (2, 4):
        torch.save({"net": net}, tmp_path / "weights.pth", pickle_protocol=protocol)
        found = read_arrays(tmp_path / "weights.pth")
        assert found.keys() == net.state_dict().keys()
        for name, value in net.state_dict().items():
            np.testing.assert_array_equal(found[name], value.numpy())


# ---------------------------------------------------------------- the kinds that are refused by name


def made_tensors():
    """What may stand in the place of a tensor: a pickle's value, and its words."""
    flat = (storage("Float", "p", 6), 0, (6,), (1,), False, OrderedDict())
    untyped = (Persistent(("storage", Global("torch.storage UntypedStorage"), "q", "cpu", 6)), *flat[1:])
    return {
        "sparse": (Call(Global("torch._utils _rebuild_sparse_tensor"), (1, 2)), "a sparse tensor"),
        "quantised": (Call(Global("torch._utils _rebuild_qtensor"), flat), "a quantised tensor"),
        "nested": (Call(Global("torch._utils _rebuild_nested_tensor"), (1, 2)), "a nested tensor"),
        "meta": (Call(Global("torch._utils _rebuild_meta_tensor_no_storage"), (1, 2)), "a tensor without values"),
        "complex": (tensor(storage("ComplexFloat", "r", 3), 0, (3,), (1,)), "a tensor of complex numbers"),
        "negated": (Call(Global("torch._utils _rebuild_tensor_v2"), (*flat, {"neg": True})), "values are negated"),
        "float8": (Call(Global("torch._utils _rebuild_tensor_v3"), (*untyped, Global("torch float8_e4m3fn"), {})),
                   "an object of 'torch.float8_e4m3fn'"),
        "NumPy": (Call(Global("numpy.core.multiarray _reconstruct"), (1,)), "an array of NumPy"),
        "a function": (Global("torch.nn.init zeros_"), "an object of 'torch.nn.init.zeros_'"),
        "None": (None, "None"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", made_tensors())
def test_other_tensors_are_called_by_their_names(tmp_path, kind):
    value, words = made_tensors()[kind]
    (tmp_path / "weights.pth").write_bytes(zip_bytes({"a": vector(ARRAY), "odd": value}, {"0": ARRAY.tobytes()}))
    found = read_weights(tmp_path / "weights.pth")
    same(found.arrays, {"a": ARRAY})
    assert words in found.unread["odd"]


@pytest.mark.parametrize("kind", made_tensors())
def test_in_the_place_of_a_wanted_tensor_they_are_refused(tmp_path, kind):
    save_torchvision_npz(tmp_path / "weights.npz", models.build("resnet18", width=1 / 64, num_classes=3))
    made, (value, words) = Made(dict(np.load(tmp_path / "weights.npz"))), made_tensors()[kind]
    state = made.state("module.") | {"module.layer2.0.bn1.bias": value}
    made.write(tmp_path / "weights.pth", state)
    with pytest.raises(
        CheckpointError, match=rf"'layer2\.0\.bn1\.bias' is .*{words}.*\.to_dense\(\), \.dequantize\(\)"
    ):
        load_pretrained(tmp_path / "weights.pth")


def saved_tensors(torch):
    ones = torch.ones(4, 4)
    return {
        "sparse": (ones.to_sparse(), "a sparse tensor"),
        "compressed": (ones.to_sparse_csr(), "a sparse tensor"),
        "quantised": (torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8), "a quantised tensor"),
        "nested": (torch.nested.nested_tensor([ones, ones[:2]]), "a nested tensor"),
        "jagged": (torch.nested.nested_tensor([ones, ones[:2]], layout=torch.jagged), "a nested tensor"),
        "meta": (ones.to("meta"), "a tensor without values"),
        "complex": (ones + 1j, "a tensor of complex numbers"),
        "negated": (torch._neg_view(ones), "whose values are negated"),
        "float8": (ones.to(torch.float8_e4m3fn), "an object of 'torch.float8_e4m3fn'"),
        "uint16": (ones.to(torch.uint16), "an object of 'torch.uint16'"),
        "NumPy": (ones.numpy(), "an array of NumPy"),
        "None": (None, "None"),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_other_tensors_of_pytorch(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    for kind, (value, words) in saved_tensors(torch).items():
        state = {"a": torch.arange(6.0), "odd": value, "b": torch.arange(6.0)}
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
        found = read_weights(path)
        same(found.arrays, {"a": ARRAY, "b": ARRAY})
        assert words in found.unread["odd"], kind


def test_programs_of_pytorch_are_called_by_their_names(tmp_path):
    torch = pytest.importorskip("torch")
    layer, path = torch.nn.Linear(2, 2), tmp_path / "weights.pt"
    torch.jit.save(torch.jit.script(layer), path)
    with pytest.raises(CheckpointError, match=r"a TorchScript program.* torch\.jit\.load\(path\)\.state_dict\(\) with"):
        read_arrays(path)
    torch.save(torch.jit.load(path).state_dict(), path)
    assert read_arrays(path).keys() == {"weight", "bias"}
    torch.export.save(torch.export.export(layer, (torch.ones(1, 2),)), path)
    with pytest.raises(
        CheckpointError, match=r"a program of torch\.export.* torch\.export\.load\(path\)\.state_dict with"
    ):
        read_arrays(path)
    torch.save(torch.export.load(path).state_dict, path)
    assert read_arrays(path).keys() == {"weight", "bias"}
