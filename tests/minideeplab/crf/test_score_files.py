"""Files of scores that are damaged or lie: the command names the file and the fault, and takes no memory for them."""

import io
import tracemalloc
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from refine_cases import IMAGE, PROBABILITIES
from strategies import SIMULATED

from minideeplab.crf.__main__ import main

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")
SCORES = np.ascontiguousarray(PROBABILITIES[:6, :7])  # small: the command runs for every byte of the header


@pytest.fixture
def command(tmp_path, capsys):
    """Writes bytes as a file and runs the command on it: exit code, and what it says after the file's name."""
    Image.fromarray(IMAGE[:6, :7]).save(tmp_path / "photo.png")
    path, out = tmp_path / "scores", tmp_path / "out.npy"

    def run(content):
        path.write_bytes(content)
        code = main(["--image", str(tmp_path / "photo.png"), "--probabilities", str(path), "--out", str(out)])
        said = capsys.readouterr().err
        if code:
            assert said.startswith(f"error: {path}") and "Traceback" not in said
            assert not out.exists()
        out.unlink(missing_ok=True)
        return SimpleNamespace(code=code, said=said.removeprefix(f"error: {path}: "))

    return run


def npy(array, allow_pickle=False):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def declared(shape, descr="<f4", data=b"\0" * 64):
    """A .npy whose header says what it likes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def archive(**members):
    """A zip of members by name, deflated."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return file.getvalue()


WHOLE = {
    "npy": npy(SCORES),
    "npy, Fortran order": npy(np.asfortranarray(SCORES)),
    "npy, big endian": npy(SCORES.astype(">f4")),
    "npy, first": npy(SCORES.transpose(2, 0, 1)),
    "npz": npz(scores=SCORES),
    "npz, compressed": npz(np.savez_compressed, scores=SCORES),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read(command, name):
    assert command(WHOLE[name]).code == 0


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_anywhere_is_refused(command, name):
    content = WHOLE[name]
    for length in sorted({*range(0, len(content), 64), len(content) - 1}):
        result = command(content[:length])
        assert result.code == 3, length
        assert "copy or download the file again" in result.said or "save the array with numpy.save" in result.said


@pytest.mark.parametrize("name", ["npy", "npz", "npz, compressed"])
def test_a_changed_byte_of_a_header_is_refused_or_harmless(command, name):
    """Headers of .npy, of members, and the directory at the end of an archive."""
    content = WHOLE[name]
    places = [*range(128)] if name == "npy" else [*range(0, 170, 2), *range(len(content) - 100, len(content), 2)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        assert command(bytes(changed)).code in (0, 3), place


OBJECTS = npy(np.array([{}, print], dtype=object), allow_pickle=True)
STRINGS, DATES, RECORDS = (
    npy(array) for array in (np.array(["a"]), np.array(["2020-01-01"], "M8[D]"), np.zeros(3, [("a", "f4")]))
)
LYING = {
    "a trillion numbers": declared((10**6, 10**6)),
    "more than an address holds": declared((10**30, 4)),
    "a number of 400 digits": declared((10**400,)),
    "fewer than nothing": declared((-6, -7, 4)),
    "too few numbers": declared((6, 7, 3), data=SCORES.tobytes()),
    "one number more than there is": declared((6, 7, 4), data=SCORES.tobytes()[:-4]),
    "bytes after the end": npy(SCORES) + b"\0" * 64,
    "a trillion in an archive": archive(**{"scores.npy": declared((10**6, 10**6))}),
    "objects": OBJECTS,
    "objects in an archive": npz(scores=np.array([{}], dtype=object)),
    "strings": STRINGS,
    "dates": DATES,
    "records": RECORDS,
    "complex numbers": npy(SCORES.astype(complex)),
    "a member that is no array": archive(**{"scores.txt": "0.5"}),
    "a member that is text": archive(**{"scores.npy": "0.5"}),
    "no member": archive(),
    "text": b"0.1 0.9\n" * 50,
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 200,
    "a pickle": b"\x80\x04\x95" + b"\0" * 200,
    "nothing": b"",
}


@pytest.mark.parametrize("name", LYING)
def test_what_is_no_array_of_numbers_is_refused_without_memory(command, name):
    command(WHOLE["npy"])  # imports and compiles
    tracemalloc.start()
    try:
        result = command(LYING[name])
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert result.code == 3
    assert ";" in result.said, "a message ends with the next step"


def test_an_archive_of_two_arrays_is_refused_with_their_names(command):
    for save in (np.savez, np.savez_compressed):
        result = command(npz(save, scores=SCORES, labels=SCORES[..., 0]))
        assert (result.code, result.said) == (3, "holds the arrays 'scores', 'labels'; save the scores alone\n")
    assert command(archive()).said == "holds no array; save the scores alone\n"


def test_a_folder_is_no_file_of_scores(tmp_path, capsys):
    Image.fromarray(IMAGE).save(tmp_path / "photo.png")
    assert (
        main(
            ["--image", str(tmp_path / "photo.png"), "--probabilities", str(tmp_path), "--out", str(tmp_path / "x.npy")]
        )
        == 3
    )
    assert ": a folder; give a file" in capsys.readouterr().err
