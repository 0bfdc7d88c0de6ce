"""Networks from files of both kinds: of our runs and of others; and what their classes are called."""

from types import SimpleNamespace

import numpy as np
import pytest

from minideeplab import Tensor, models, no_grad
from minideeplab.data import VOC_CLASSES, voc_colour_map
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.nn.layers import Dropout
from minideeplab.weights import Checkpoint, load_trained, save_torchvision_npz
from minideeplab.weights.class_names import KNOWN

IMAGE = np.random.default_rng(0).standard_normal((1, 40, 51, 3)).astype(np.float32)


def logits(model):
    with no_grad():
        return model(Tensor(IMAGE)).numpy()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "best.npz"
    model = models.build("deeplabv3plus", num_classes=3, width=0.125, head_width=8).eval()
    Checkpoint(model.config, model.state_dict(), ["a", "b", "c"], voc_colour_map(), 250).save(path)
    return path, model


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """{number of classes: (file, network)} as torchvision names its arrays."""
    found = {}
    for count in (5, 19, 21):
        path = tmp_path_factory.mktemp("published") / "weights.npz"
        model = models.build(
            "torchvision-fcn_resnet50", num_classes=count, width=0.125, auxiliary=False, seed=count
        ).eval()
        save_torchvision_npz(path, model)
        found[count] = path, model
    return found


def dataset(names):
    return SimpleNamespace(
        class_names=tuple(names), num_classes=len(names), root="here", palette=voc_colour_map()[::-1]
    )


def test_a_checkpoint_says_what_its_classes_are(own):
    path, model = own
    trained = load_trained(path)
    assert trained.class_names == ["a", "b", "c"] and trained.ignore_index == 250 and not trained.note
    np.testing.assert_array_equal(logits(trained.model), logits(model))
    trained.take_classes(dataset("abc"))
    with pytest.raises(CheckpointError, match="trained with label 2 as 'c', which is 'd' in the data set here"):
        trained.take_classes(dataset("abd"))


@pytest.mark.parametrize(("count", "first"), [(5, "class 0"), (19, "road"), (21, "background")])
def test_published_weights_have_the_names_that_their_number_suggests(published, count, first):
    path, model = published[count]
    trained = load_trained(path)
    np.testing.assert_allclose(logits(trained.model), logits(model), rtol=1e-5, atol=1e-5)
    assert len(trained.class_names) == count and trained.class_names[0] == first
    assert "the file names no classes" in trained.note and "--class-names" in trained.note
    assert trained.palette[0].tolist() == ([128, 64, 128] if count == 19 else [0, 0, 0])


def test_a_data_set_names_the_classes_of_a_file_that_does_not(published):
    trained = load_trained(published[5][0])
    with pytest.raises(CheckpointError, match=r"trained on 5 classes .* the data set here has 3"):
        trained.take_classes(dataset("xyz"))
    trained.take_classes(dataset("vwxyz"))
    assert trained.class_names == list("vwxyz") and "those of the data set, in this order" in trained.note
    named = load_trained(published[5][0], class_names=list("abcde"))
    with pytest.raises(CheckpointError, match="trained with label 0 as 'a', which is 'v'"):
        named.take_classes(dataset("vwxyz"))


def test_names_by_name_and_from_a_file(published, tmp_path):
    assert load_trained(published[21][0], "voc").class_names == list(VOC_CLASSES)
    assert [len(names) for names, _ in KNOWN.values()] == [21, 19, 11, 150]
    (tmp_path / "names.txt").write_text("\ufeffsky\n\nroad\r\ncar \nmensch\nвода\n", encoding="utf-8")
    trained = load_trained(published[5][0], str(tmp_path / "names.txt"))
    assert trained.class_names == ["sky", "road", "car", "mensch", "вода"] and not trained.note
    for given, message in {
        "voc": "--class-names voc: 21 names, but the network has 5 classes",
        "nowhere.txt": "--class-names nowhere.txt: no such file; .*give .* one of voc, cityscapes, camvid, ade20k",
    }.items():
        with pytest.raises(UsageError, match=message):
            load_trained(published[5][0], given)
    for content, message in (
        (b"\xff\xfe\x00a", "not readable as UTF-8 text"),
        (b"a\n" * 60_000, "60000 lines, .* no class list"),
    ):
        (tmp_path / "bad.txt").write_bytes(content)
        with pytest.raises(UsageError, match=message):
            load_trained(published[5][0], tmp_path / "bad.txt")
    (tmp_path / "twice.txt").write_text("a\nb\na\nc\nd\n")
    with pytest.raises(UsageError, match="the name 'a' is there twice"):
        load_trained(published[5][0], tmp_path / "twice.txt")


def test_what_is_loaded_already_is_taken_and_left_as_it_is(own):
    path, model = own
    first = load_trained(path)
    again = load_trained(first, class_names=["x", "y", "z"], output_stride=8)
    assert again.class_names == ["x", "y", "z"] and again.model.output_stride == 8
    assert first.class_names == ["a", "b", "c"] and first.model.output_stride == 16
    network = load_trained(model)
    assert network.model is model and network.class_names == ["class 0", "class 1", "class 2"]
    network.take_classes(dataset("uvw"))
    assert network.class_names == ["u", "v", "w"]
    with pytest.raises(TypeError, match="Dropout does not say its number of classes; give Trained"):
        load_trained(Dropout(0.5))
    with pytest.raises(TypeError, match="expected a file, a run, a Trained or a network, got list"):
        load_trained([path])


@pytest.mark.parametrize("args", [{}, {"ignore_index": None, "label_map": None}, {"label_map": "/etc/passwd"}])
def test_another_void_that_is_no_class_is_no_difference(own, args):
    trained = load_trained(own[0])
    trained.args = args
    assert trained.differences(SimpleNamespace(ignore_index=255)) == []
    trained.args = {"ignore_index": 250}
    assert len(trained.differences(SimpleNamespace(ignore_index=255))) == 1
    assert trained.differences(SimpleNamespace(ignore_index=250)) == []


def test_another_output_stride(own, published):
    path, model = own
    finer = load_trained(path, output_stride=8).model
    assert finer.output_stride == 8 and model.output_stride == 16
    assert abs(logits(finer) - logits(model)).max() > 1e-3
    with pytest.raises(UsageError, match="--output-stride 16: torchvision-fcn_resnet50 is built for output stride 8"):
        load_trained(published[5][0], output_stride=16)


def test_what_is_no_network_for_segmentation(tmp_path):
    with pytest.raises(CheckpointError, match=r"missing.npz: no such file; a training run writes"):
        load_trained(tmp_path / "missing.npz")
    with pytest.raises(CheckpointError, match=r"a folder; give a file in it"):
        load_trained(tmp_path)
    (tmp_path / "text.pth").write_text("hello, this is text")
    with pytest.raises(CheckpointError, match=r"text.pth: a text, .hello, this is text., not weights; download"):
        load_trained(tmp_path / "text.pth")
    save_torchvision_npz(tmp_path / "resnet.npz", models.build("resnet18", num_classes=7, width=0.125))
    with pytest.raises(CheckpointError, match=r"weights of resnet18, which classifies whole images; .* --init-from"):
        load_trained(tmp_path / "resnet.npz")
