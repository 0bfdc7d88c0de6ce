"""What is often given for weights is called by its name, with what to do."""

import gzip
import io
import json
import pickle
import re
import tarfile
import zipfile

import numpy as np
import pytest
from container_files import GOOD_LEGACY, GOOD_ZIP

from minideeplab.errors import CheckpointError
from minideeplab.weights.containers import read_arrays
from minideeplab.weights.pytorch_file import MAX_PICKLE

TABLE_END = bytes.fromhex("57fb808b247547db")
INDEX = json.dumps({"metadata": {"total_size": 10}, "weight_map": {"a": "x-00001-of-00002.bin"}}, indent=2).encode()


def tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return stream.getvalue()


def keras():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, b"{}")
    return stream.getvalue()


def long(field, payload):
    """A field of Protocol Buffers with its length, in one byte or two."""
    size = len(payload)
    return (
        bytes([8 * field + 2, size]) + payload
        if size < 128
        else bytes([8 * field + 2, size % 128 + 128, size // 128]) + payload
    )


GIVEN = np.arange(6.0)
NODE = long(1, b"input") + long(2, b"Placeholder")
# name -> (content, words)
FILES = {
    "model.safetensors.index.json": (INDEX, "index of a divided model.*arrays |= .*read_arrays"),
    "pytorch_model.bin.index.json": (b"{}", "index of a divided model"),
    "config.json": (b'{"a": 1}', "a JSON text"),
    "old.pth.tar": (tar(), "a tar archive.*first PyTorch"),
    "weights.pth.gz": (gzip.compress(GOOD_ZIP), "compressed with gzip; unpack"),
    "weights.pth.bz2": (b"BZh91AY&SY", "compressed with bzip2; unpack"),
    "weights.pth.xz": (b"\xfd7zXZ\x00\x00", "compressed with xz; unpack"),
    "weights.pth.zst": (b"\x28\xb5\x2f\xfd\x04", "compressed with zstd; unpack"),
    "weights.7z": (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack"),
    "weights.rar": (b"Rar!\x1a\x07", "a RAR archive; unpack"),
    "net.onnx": (b"\x08\x07\x12\x07pytorch\x1a\x03", "an ONNX model"),
    "ours.onnx": (b"\x08\x08\x12\x0bminideeplab:\x00", "an ONNX file of minideeplab.export; give the checkpoint"),
    "saved_model.pb": (b"\x08\x01\x12" + bytes(20), "a SavedModel of TensorFlow"),
    "frozen_inference_graph.pb": (long(1, NODE), "a frozen graph of TensorFlow"),
    "large_graph.pb": (long(1, NODE + bytes(200)), "a frozen graph of TensorFlow"),
    "net.caffemodel": (long(1, b"DeepLab-LargeFOV") + b"\xa2\x06" + bytes(40), "a network of Caffe"),
    "model.ckpt.index": (bytes(60) + TABLE_END, "checkpoint of TensorFlow.*tf.train.load_checkpoint"),
    "model.ckpt.data-00000-of-00001": (bytes(range(60)), "checkpoint of TensorFlow.*tf.train.load_checkpoint"),
    "checkpoint": (b'model_checkpoint_path: "model.ckpt-30000"\n', "list of checkpoints of TensorFlow"),
    "net.tflite": (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
    "net.h5": (b"\x89HDF\r\n\x1a\n", "HDF5.*Keras"),
    "net.keras": (keras(), "a .keras file"),
    "flax_model.msgpack": (b"\x81\xa6params\x82\xa8backbone\x80", "msgpack.*Flax"),
    "net.mat": (b"MATLAB 5.0 MAT-file, Platform", "a .mat file of MATLAB"),
    "net.gguf": (b"GGUF\x03\x00\x00\x00", "GGUF"),
    "._weights.pth": (b"\x00\x05\x16\x07\x00\x02", "macOS keeps beside a file.*the file itself"),
    "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "page.pth": (b"\n\n\n<!DOCTYPE html>\n<html>", "a web page"),
    "answer.pth": (b"404: Not Found", "a text, '404: Not Found', not weights; download"),
    "model_final.pkl": (pickle.dumps({"model": {"w": GIVEN}}), "a plain pickle, as of detectron2 or Paddle"),
    "noise.pth": (bytes(range(200, 256)), "as no known weight file does; give a .pth"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_mistaken_file_is_called_by_its_name(tmp_path, name):
    content, words = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"(?s){words}") as caught:
        read_arrays(tmp_path / name)
    assert "copy or download the file again" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_plain_pickle_of_many_arrays_is_not_called_damaged(tmp_path):
    """Of a longer one than is read."""
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"w": np.zeros(MAX_PICKLE, np.uint8)}))
    with pytest.raises(CheckpointError, match="a plain pickle, as of detectron2 or Paddle"):
        read_arrays(tmp_path / "x.pdparams")


@pytest.mark.parametrize("data", [GOOD_ZIP, GOOD_LEGACY])
@pytest.mark.parametrize("name", ["weights.pth.tar", "model.ckpt", "weights.ckpt.data-00000-of-00001", "a.index.json"])
def test_the_name_of_a_file_that_is_read_does_not_matter(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert read_arrays(tmp_path / name).keys() == {"a"}


def test_every_beginning_is_answered(tmp_path):
    """Short files, and each first byte: no word about damage, as nothing is damaged, and no other error."""
    for first in range(256):
        for rest in (b"", b"\x12", b"\xff\x12\x00", b"\x0a\xff" * 300):
            (tmp_path / "x").write_bytes(bytes([first]) + rest)
            with pytest.raises(CheckpointError) as caught:
                read_arrays(tmp_path / "x")
            assert "copy or download" not in str(caught.value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("content", [{"w": GIVEN, "b": GIVEN}, {"model": {"w": GIVEN, "b": GIVEN}, "iteration": 3}])
def test_the_code_for_a_plain_pickle_writes_its_arrays(tmp_path, monkeypatch, protocol, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(CheckpointError) as caught:
        read_arrays(path)
    code = re.search(r"content = pickle\.load.*", str(caught.value))[0]
    exec(code, {"pickle": pickle, "numpy": np, "path": path})
    found = read_arrays("weights.npz")
    assert found.keys() == {"w", "b"} and all((array == GIVEN).all() for array in found.values())
