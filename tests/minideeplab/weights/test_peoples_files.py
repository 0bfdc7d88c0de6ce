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
import pickle
import random
from collections import OrderedDict

import numpy as np
import pytest
from container_files import (
    Call,
    Global,
    Raw,
    assemble,
    legacy_bytes,
    same,
    storage,
    tensor,
    zip_bytes,
)

from minideeplab.weights.containers import read_arrays

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


class Made:
    """Pickles put together from instructions, in one of the two formats of torch.save."""

    def __init__(self, legacy, protocol):
        self.legacy, self.protocol, self.storages, self.counts = legacy, protocol, {}, {}

    def tensor(self, array):
        key = str(len(self.storages))
        self.storages[key], self.counts[key] = array.tobytes(), array.size
        kind = {"float32": "Float", "int64": "Long"}[array.dtype.name]
        strides = tuple(step // array.itemsize for step in array.strides)
        return tensor(storage(kind, key, array.size, self.legacy), 0, array.shape, strides)

    def state(self, prefix="", weights=WEIGHTS):
        return OrderedDict((prefix + name, self.tensor(array)) for name, array in weights.items())

    def value(self, value):
        """As Python's pickle writes it."""
        return Raw(pickle.dumps(value, self.protocol)[2:-1])

    def foreign(self, name, *arguments, state=None):
        """An object of a class that need not be here."""
        return Call(Global(name), arguments, state)

    def module(self, name, weights=WEIGHTS):
        """A module of PyTorch with its layers, as its `__reduce_ex__` gives it."""
        layers = {}
        for path in dict.fromkeys(name.split(".")[0] for name in weights):
            inner = {name: array for name, array in weights.items() if name.startswith(f"{path}.")}
            leaves = {name.removeprefix(f"{path}."): self.tensor(array) for name, array in inner.items()}
            buffers = {leaf: leaves.pop(leaf) for leaf in list(leaves) if leaf.startswith(("running", "num"))}
            parameters = {leaf: Call(Global("torch._utils _rebuild_parameter"), (t, True, OrderedDict()))
                          for leaf, t in leaves.items()}  # fmt: skip
            parameters["none"] = None
            layers[path] = self.object("torch.nn.modules.conv Conv2d", parameters, buffers, {})
        return self.object(name, {}, {}, layers)

    def object(self, name, parameters, buffers, modules):
        hooks = {"_backward_hooks": OrderedDict(), "_forward_hooks": OrderedDict()}
        state = {"training": True, "_parameters": parameters, "_buffers": buffers, **hooks, "_modules": modules}
        return Raw(assemble(Global(name)) + b")\x81" + assemble(state | {"_non_persistent_buffers_set": []}) + b"b")

    def write(self, path, content):
        if self.legacy:
            path.write_bytes(legacy_bytes(content, self.storages, counts=self.counts))
        else:
            path.write_bytes(zip_bytes(content, self.storages))


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
    kit, path = Made(legacy, protocol), tmp_path / "weights.pth"
    kit.write(path, KINDS[kind](kit))
    same(read_arrays(path), WEIGHTS)


@pytest.mark.parametrize(("legacy", "protocol"), FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_saved_by_pytorch_loads(tmp_path, kind, legacy, protocol):
    kit, path = Saved(pytest.importorskip("torch"), legacy, protocol), tmp_path / "weights.pth"
    kit.write(path, KINDS[kind](kit))
    same(read_arrays(path), WEIGHTS)
