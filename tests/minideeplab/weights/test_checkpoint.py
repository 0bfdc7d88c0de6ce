"""Checkpoints: round trip, atomic writing, and bad files that end in CheckpointError and in nothing else."""

import io
import json
import pickle
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from container_files import GOOD_LEGACY, GOOD_SAFETENSORS, GOOD_ZIP
from hypothesis import given, settings
from hypothesis import strategies as st

from minideeplab import Tensor, models, no_grad
from minideeplab.data import voc_colour_map
from minideeplab.errors import CheckpointError
from minideeplab.weights import Checkpoint, fit_state, initialise


def small_checkpoint(**changes):
    content = {
        "model": {"name": "tiny", "num_classes": 2},
        "state": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(7)},
        "class_names": ["background", "cat"],
        "palette": voc_colour_map(),
        "optimiser": {"weight": np.ones((2, 3), np.float32)},
        "progress": {"step": 7, "epoch_loss": 0.1 + 0.2},
        "args": {"lr": 0.01},
    }
    return Checkpoint(**content | changes)


def network(num_classes=3, seed=0):
    return models.build("deeplabv3plus", num_classes=num_classes, width=0.125, head_width=16, seed=seed)


def checkpoint_of(model, **changes):
    names = [f"class {i}" for i in range(model.config["num_classes"])]
    return small_checkpoint(model=model.config, state=model.state_dict(), class_names=names, **changes)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "last.npz"
    small_checkpoint().save(path)
    return path


def rewrite(path, **changes):
    """Replaces members of an archive; None removes one, a dict goes into the JSON of `meta`."""
    with np.load(path) as archive:
        members = dict(archive)
    if "meta" in changes and isinstance(changes["meta"], dict):
        meta = json.loads(members["meta"].tobytes()) | changes["meta"]
        changes["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    members = {name: array for name, array in (members | changes).items() if array is not None}
    np.savez(path, **members)


def test_round_trip_is_exact(path):
    original, loaded = small_checkpoint(), Checkpoint.load(path)
    for name in ("model", "class_names", "ignore_index", "progress", "args"):
        assert getattr(loaded, name) == getattr(original, name)
    for name in ("state", "optimiser"):
        before, after = getattr(original, name), getattr(loaded, name)
        assert before.keys() == after.keys()
        for key in before:
            assert after[key].dtype == before[key].dtype
            np.testing.assert_array_equal(after[key], before[key])
    np.testing.assert_array_equal(loaded.palette, original.palette)


@pytest.mark.parametrize("broken", ["numpy.savez", "os.fsync", "os.replace"])
def test_a_failure_while_writing_keeps_the_old_file(path, monkeypatch, broken):
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match="No space left"):
        small_checkpoint(args={"lr": 1}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.npz: no such file"):
        Checkpoint.load(tmp_path / "nothing.npz")


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "image.npz"
    path.write_bytes(b"\x89PNG\r\n" + bytes(100))
    with pytest.raises(CheckpointError, match=r"image\.npz: it starts with b'\\x89PNG.*; give RUN/best\.npz or"):
        Checkpoint.load(path)


def test_an_npz_of_another_program(tmp_path):
    np.savez(tmp_path / "other.npz", weight=np.ones(3))
    with pytest.raises(
        CheckpointError, match=r"an \.npz of NumPy, not a checkpoint of this project; train .*--init-from"
    ):
        Checkpoint.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta": {"format_version": 99}}, "format version 99, this program reads version 1"),
        ({"meta": {"progress": None}}, r"no valid 'progress' \(dict expected\)"),
        ({"meta": {"class_names": ["cat"]}}, "1 class names for 2 classes"),
        ({"meta": {"mean": [0, 0, 0]}}, r"normalised with mean \[0, 0, 0\]"),
        ({"meta": np.frombuffer(b"{", np.uint8)}, "'meta' is not JSON"),
        ({"palette": None}, "'palette' must be"),
        ({"model/weight": np.array([1, np.nan], np.float32)}, "'model/weight' holds values that are not finite"),
    ],
)
def test_wrong_contents_are_named(path, changes, message):
    rewrite(path, **changes)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(path)


class Canary:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_never_run(path, tmp_path):
    canary = tmp_path / "sang"
    rewrite(path, **{"model/weight": np.array([Canary(canary)], object)})
    with pytest.raises(CheckpointError, match="only numbers are allowed"):
        Checkpoint.load(path)
    path.write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        Checkpoint.load(path)
    assert not canary.exists()


def test_a_decompression_bomb_is_not_unpacked(path):
    np.savez_compressed(path, meta=np.zeros(10_000_000, np.uint8))
    with pytest.raises(CheckpointError, match="is compressed"):
        Checkpoint.load(path)


def test_a_lie_about_the_shape_allocates_nothing(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/huge.npy", header.getvalue() + bytes(16))
    with pytest.raises(CheckpointError, match=r"an array of shape \(1000000000000,\)"):
        Checkpoint.load(path)


def loads_or_refuses(path, original):
    """A damaged file is refused, unless the damage does not touch what is read."""
    try:
        loaded = Checkpoint.load(path)
    except CheckpointError as error:
        assert str(path) in str(error)
    else:
        np.testing.assert_array_equal(loaded.state["weight"], original.state["weight"])
        assert loaded.progress == original.progress


def test_every_truncation_is_refused(path):
    data = path.read_bytes()
    for size in range(0, len(data), 64):
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError):
            Checkpoint.load(path)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_refused_or_harmless(tmp_path_factory, flips):
    original = small_checkpoint()
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    original.save(path)
    data = bytearray(path.read_bytes())
    for place, change in flips:
        data[place % len(data)] ^= change
    path.write_bytes(data)
    loads_or_refuses(path, original)


def test_build_model_restores_the_weights(tmp_path):
    path, model = tmp_path / "best.npz", network(seed=5)
    checkpoint_of(model).save(path)
    rebuilt = Checkpoint.load(path).build_model(path)
    expected, found = model.state_dict(), rebuilt.state_dict()
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


GIANTS = (
    {"head_width": 4096, "width": 4},
    {"width": 1e308},
    {"width": 1e9},
    {"backbone": "resnet152", "width": 1},
    {"head_width": 10**9},
    {"atrous_rates": [1] * 10**5},
)


@pytest.mark.parametrize("giant", GIANTS, ids=lambda giant: "-".join(giant))
def test_a_giant_network_is_refused_before_memory_is_taken(tmp_path, giant):
    path, model = tmp_path / "best.npz", network()
    checkpoint_of(model).save(path)
    rewrite(path, meta={"model": model.config | giant})
    checkpoint = Checkpoint.load(path)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"best\.npz: no model can be built from its configuration .*; copy the"):
        checkpoint.build_model(path)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5 and peak < 30e6


def test_a_billion_classes_are_refused(path):
    rewrite(path, meta={"model": {"name": "unet", "num_classes": 10**9}})
    with pytest.raises(CheckpointError, match="2 class names for 1000000000 classes"):
        Checkpoint.load(path)


@pytest.mark.parametrize(
    ("data", "title"),
    [(GOOD_ZIP, "a .pth of PyTorch"), (GOOD_LEGACY, "before 1.6"), (GOOD_SAFETENSORS, "a .safetensors file")],
)
def test_files_of_others_are_named_with_what_to_do(tmp_path, data, title):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=rf"weights\.pth: .*{title}.*train --init-from \S+pth`, or .*load_pretrain"
    ):
        Checkpoint.load(path)
    with pytest.raises(CheckpointError, match="no known layout"):
        initialise(network(), path)


def test_an_unknown_model_is_named(path):
    with pytest.raises(CheckpointError, match=r"last\.npz: no model can be built.*tiny"):
        Checkpoint.load(path).build_model(path)


def test_arrays_that_do_not_fit_come_as_a_table(path):
    model = network()
    state = model.state_dict()
    missing, reshaped = list(state)[:2]
    state[reshaped] = np.zeros((2, 2), np.float32)
    state["extra"] = state.pop(missing)
    with pytest.raises(CheckpointError, match="3 arrays do not fit") as caught:
        fit_state(path, model, state)
    assert f"{missing}: {model.state_dict()[missing].shape} / nothing" in str(caught.value)
    assert f"{reshaped}: {model.state_dict()[reshaped].shape} / (2, 2)" in str(caught.value)
    assert "extra: nothing / " in str(caught.value)


def test_initialise_skips_the_head_of_other_classes_only(tmp_path):
    path, source = tmp_path / "best.npz", network(num_classes=3, seed=5)
    checkpoint_of(source).save(path)
    model = network(num_classes=7, seed=1)
    before = model.state_dict()
    note = initialise(model, path)
    assert "head skipped, 3 classes there, 7 here" in note
    changed = {name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])}
    for name, array in source.state_dict().items():
        if array.shape == before[name].shape:
            np.testing.assert_array_equal(model.state_dict()[name], array, err_msg=name)
        else:
            assert name not in changed and name in note
    assert "head skipped" not in initialise(network(num_classes=3), path)


def test_older_files_of_xception_have_no_relu_after_depthwise_parts(tmp_path):
    options = {"backbone": "xception41", "num_classes": 3, "width": 1 / 32, "head_width": 4, "extra_relu": False}
    model = models.build("deeplabv3plus", **options)
    older = {key: value for key, value in model.config.items() if key not in ("extra_relu", "first_rate")}
    path = tmp_path / "older.npz"
    Checkpoint(older, model.state_dict(), ["a", "b", "c"], np.zeros((256, 3), np.uint8)).save(path)
    image = Tensor(np.random.default_rng(0).standard_normal((1, 33, 33, 3)).astype(np.float32))
    with no_grad():
        again = Checkpoint.load(path).build_model(path)
        np.testing.assert_array_equal(again(image).numpy(), model.eval()(image).numpy())


@pytest.mark.parametrize(("classifier", "options"), [
    ("resnet18", {"name": "deeplabv3plus", "head_width": 8}),
    ("vgg16", {"name": "deeplabv1-largefov"}),
    ("drn-d-22", {"name": "deeplabv3", "backbone": "drn-d-22", "output_stride": 8, "head_width": 8}),
])  # fmt: skip
def test_a_classifier_gives_its_backbone(tmp_path, classifier, options):
    source = models.build(classifier, num_classes=9, width=1 / 32, seed=1)
    path = tmp_path / "classifier.npz"
    names = [str(i) for i in range(9)]
    Checkpoint(source.config, source.state_dict(), names, np.zeros((256, 3), np.uint8)).save(path)
    model, other = (models.build(**options, num_classes=4, width=1 / 32) for _ in range(2))
    note = initialise(model, path)
    assert f"what the file's classifier {classifier} does not have begins anew" in note
    with pytest.raises(CheckpointError, match=f"unet has no backbone that the classifier {classifier}"):
        initialise(models.build("unet", width=1 / 32), path)
    given, untouched = source.state_dict(), other.state_dict()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, given[name] if name.startswith("backbone.") else untouched[name])


def test_vgg_gives_its_fully_connected_layers_to_fcn(tmp_path):
    """As the paper begins: fc6 and fc7 become the 7x7 and 1x1 convolutions, the class scores begin anew."""
    source, path = models.build("vgg16", num_classes=9, width=1 / 32, seed=1), tmp_path / "vgg16.npz"
    Checkpoint(source.config, source.state_dict(), list("abcdefghi"), np.zeros((256, 3), np.uint8)).save(path)
    model = models.build("fcn-32s", num_classes=4, width=1 / 32)
    initialise(model, path)
    given, found = source.state_dict(), model.state_dict()
    same = {name for name in found if name in given and np.array_equal(given[name], found[name])}
    weights = {name for name in found if name.endswith("weight")}
    assert weights - same == {"scores.fc8.weight", "enlarge.weight"}


@pytest.mark.parametrize(
    ("option", "value"),
    [("align_corners", [1]), ("decoder", 1), ("atrous_rates", [10**30]), ("atrous_rates", ["a"]), ("seed", [1, 2]),
     ("multi_grid", [0.5] * 3), ("ceil_mode", "yes"), ("seed", -1), ("num_classes", True), ("width", "1")],
)  # fmt: skip
def test_a_value_that_no_network_has_is_refused(tmp_path, option, value):
    path, model = tmp_path / "best.npz", network()
    checkpoint_of(model).save(path)
    rewrite(path, meta={"model": model.config | {option: value}})
    with pytest.raises(CheckpointError, match=rf"best\.npz: .*({option} must be|for True classes)"):
        Checkpoint.load(path).build_model(path)


def test_float64_beyond_float32_and_negative_variances_are_no_weights(tmp_path):
    path = tmp_path / "best.npz"
    model = checkpoint_of(network())
    name = next(name for name in model.state if name.endswith("running_var"))
    for array in (np.full(model.state[name].shape, 1e300), -np.ones_like(model.state[name])):
        state = model.state | {name: array}
        Checkpoint(model.model, state, model.class_names, model.palette).save(path)
        with pytest.raises(CheckpointError, match=rf"'{name}' holds numbers from .* which are no variances; copy the"):
            Checkpoint.load(path).build_model(path)


def test_a_deep_or_long_meta_is_refused(path):
    for meta, message in (("[" * 50_000, "not JSON|deep"), ("[0" + ",0" * 600_000 + "]", "JSON of 600001 values")):
        arrays = dict(np.load(path)) | {"meta": np.frombuffer(meta.encode(), np.uint8)}
        np.savez(path, **arrays)
        with pytest.raises(CheckpointError, match=rf"'meta' is ({message})"):
            Checkpoint.load(path)
