"""Each state that a run folder can be left in resumes, or may be started over; the message names the true cause."""

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from train_runs import FILES, assert_same_run, command

from minideeplab.errors import CheckpointError, UsageError
from minideeplab.files.lock import FolderLock
from minideeplab.train import command as train
from minideeplab.train.folder_states import newest_checkpoint, require_free
from minideeplab.train.run_folder import RunFolder
from minideeplab.weights import Checkpoint

FIRST = ("args.json", "config.toml", "data.json", "log.txt", "metrics.csv", "metrics.jsonl", "samples")


def left(source, out, *names):
    """A folder in which only these files of a run are left."""
    shutil.copytree(source, out)
    for path in out.iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return out


def damage(path):
    path.write_bytes(path.read_bytes()[:-100])


STARTED_OVER = {
    "nothing at all": ([], "no such file; the folder of a run holds args.json"),
    "killed while the folder was made": (["samples", ".lock"], "no such file; the folder of a run holds"),
    "killed before args.json": (["samples", "log.txt"], "no such file; the folder of a run holds"),
    "killed or full before the first checkpoint": (FIRST, "stopped before it saved anything; start it again without"),
    "the same, with a file of the user's": ([*FIRST, "notes.txt"], "stopped before it saved anything; start it again"),
    "the same, with pictures due": ([*FIRST, ".pictures-due"], "stopped before it saved anything; start it again"),
    "diverged before the first checkpoint": ([*FIRST, "diverged.npz"], "diverged before it saved anything; start it"),
}


@pytest.mark.parametrize("state", STARTED_OVER)
def test_without_a_checkpoint_a_folder_may_be_started_over(halves, tmp_path, state):
    names, cause = STARTED_OVER[state]
    out = left(halves, tmp_path / "run", *names)
    for name in names:
        if not (out / name).exists():
            (out / name).write_bytes((halves / "last.npz").read_bytes() if name == "diverged.npz" else b"")
    require_free(out)
    with pytest.raises(CheckpointError, match=f"last.npz: .*{cause}"):
        newest_checkpoint(out)
    with RunFolder.create(str(out), ""):
        assert not (out / "diverged.npz").exists() and not (out / ".pictures-due").exists()
        assert (out / "samples").is_dir() and ("notes.txt" not in names or (out / "notes.txt").exists())


REPORTS = FILES - {"last.npz", "best.npz"}
RESUMED = {  # files left, damaged ones, the file that it goes on from, steps that are done again, what is said
    "stopped": (REPORTS | {"last.npz", "last.prev.npz", "best.npz"}, (), "last.npz", 0, None),
    "killed after the first save": (
        {*FIRST, "last.npz", "best.npz", ".pictures-due"}, (), "last.npz", 0, None,
    ),
    "nothing but last.npz": ({"last.npz"}, (), "last.npz", 0, None),
    "killed or full between best.npz and the first last.npz": (
        {*FIRST, "best.npz", ".pictures-due"}, (), "best.npz", 1,
        "there is no last.npz; the run goes on from best.npz, after step 2, 1 steps are done again",
    ),
    "last.npz damaged": (
        REPORTS | {"last.npz", "last.prev.npz", "best.npz"}, ("last.npz",), "last.prev.npz", 1,
        r"last.npz is damaged \(.+\); the run goes on from last.prev.npz, after step 2, 1 steps are done again",
    ),
    "last.npz deleted": (
        REPORTS | {"last.prev.npz", "best.npz"}, (), "last.prev.npz", 1, "there is no last.npz; the run goes on",
    ),
    "both damaged": (
        REPORTS | {"last.npz", "last.prev.npz", "best.npz"}, ("last.npz", "last.prev.npz"), "best.npz", 1,
        r"last.npz is damaged .+, last.prev.npz is damaged .+; the run goes on from best.npz, after step 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("state", RESUMED)
def test_with_a_good_checkpoint_a_run_goes_on_to_the_same_end(run, halves, tmp_path, quick_pictures, state):
    names, damaged, source, again, said = RESUMED[state]
    out = left(halves, tmp_path / "run", *names)
    for name in damaged:
        damage(out / name)
    if ".pictures-due" in names:
        (out / ".pictures-due").touch()
    with pytest.raises(UsageError, match="there is a run in this folder; add --resume to continue it"):
        require_free(out)
    found = newest_checkpoint(out)
    assert found.path.name == source and {path.name for path in found.damaged} == set(damaged)
    assert found.steps_lost == again and bool(found.notes()) == bool(said)
    assert train.main(["--resume", "--out", str(out)]) == 0
    log, files = (out / "log.txt").read_text(), {path.name for path in out.iterdir()}
    assert not said or re.search(f"warning: {said}", log)
    set_aside = {name.replace(".npz", ".damaged.npz") for name in damaged}
    if names == {"last.npz"}:
        assert re.search(r"warning: there is no .+best.npz; it comes back with the first validation above 10\.13", log)
        assert f"--checkpoint {out / 'last.npz'}" in log
    else:
        assert files == FILES | set_aside
        assert_same_run(run, out)


def test_with_damaged_checkpoints_alone_a_folder_may_be_started_over(halves, tmp_path):
    out = left(halves, tmp_path / "run", *FIRST, "last.npz", "best.npz")
    for name in ("last.npz", "best.npz"):
        damage(out / name)
    with pytest.raises(CheckpointError, match=r"no checkpoint of this run can be read \(last.npz: .+; best"):
        newest_checkpoint(out)
    require_free(out)
    with RunFolder.create(str(out), ""):
        assert {path.name for path in out.glob("*.npz")} == {"last.damaged.npz", "best.damaged.npz"}


def test_what_is_no_damage_is_not_passed_over(halves, tmp_path):
    """A file of a newer version, without arguments, or of another kind has its reason: an older file is no help."""
    out = left(halves, tmp_path / "run", "last.npz", "last.prev.npz")
    checkpoint = Checkpoint.load(out / "last.npz")
    checkpoint.args = {}
    checkpoint.save(out / "last.npz")
    with pytest.raises(
        CheckpointError, match=r"last\.npz: it holds no training arguments; start a new run with --init"
    ):
        newest_checkpoint(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minideeplab.weights.checkpoint.FORMAT_VERSION", 2)
        checkpoint.save(out / "last.npz")
    with pytest.raises(CheckpointError, match="format version 2, this program reads version 1"):
        newest_checkpoint(out)
    with pytest.raises(UsageError, match="there is a run in this folder"):
        require_free(out)


def test_a_finished_run_whose_last_is_damaged_is_mended(run, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    damage(out / "last.npz")
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert_same_run(run, out)


def test_resuming_a_finished_run_changes_no_file(run, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert train.main(["--resume", "--out", str(out)]) == 0
    assert "training of 2 epochs is finished, nothing to resume" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_that_another_process_trains_in_is_refused(data, halves, tmp_path, capsys):
    out = left(halves, tmp_path / "run", *FIRST, "last.npz")
    before = (out / "last.npz").read_bytes()
    lock = FolderLock(out)
    try:
        for arguments in (["--resume", "--out", str(out)], command(data, out)):
            assert train.main(arguments) == 2
            error = capsys.readouterr().err
            assert f"--out {out}: process {os.getpid()} on" in error
            assert "trains in this folder; wait until it has ended, or give another --out" in error
    finally:
        lock.release()
    assert (out / "last.npz").read_bytes() == before


def test_the_folder_is_free_after_every_end(data, halves, tmp_path, monkeypatch):
    """Also after an error, within one process."""
    out = left(halves, tmp_path / "run", *FIRST, "last.npz")
    with monkeypatch.context() as patch:
        patch.setattr("minideeplab.train.loop.Training.run", lambda training: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train.main(["--resume", "--out", str(out)])
    FolderLock(out).release()
    with pytest.raises(ZeroDivisionError), RunFolder.create(str(tmp_path / "new"), ""):
        raise ZeroDivisionError
    FolderLock(tmp_path / "new").release()


def test_names_by_default_are_given_once_however_many_ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: RunFolder.create(None, "net"), range(24)))
    assert {folder.path.name for folder in folders} == {"net", *(f"net-{number}" for number in range(2, 25))}
    for folder in folders:
        folder.close()


def test_files_of_others_are_never_written_over(tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"the folder is not empty \(notes.txt\); give another --out"):
        RunFolder.create(str(tmp_path), "")
    (tmp_path / "args.json").write_text('{"program": "another"}')
    with pytest.raises(UsageError, match="the folder is not empty"):
        require_free(tmp_path)
    with pytest.raises(UsageError, match="a file of this name exists"):
        require_free(tmp_path / "notes.txt")


def test_what_a_kill_left_half_written_is_cleared_at_the_next_start(halves, tmp_path):
    out = left(halves, tmp_path / "run", *FIRST, "last.npz")
    for folder in (out, out / "samples"):
        (folder / f".minideeplab-{'a' * 16}.tmp").write_text("half")
        os.utime(folder / f".minideeplab-{'a' * 16}.tmp", (1, 1))
    RunFolder(out).hold().close()
    assert not list(out.rglob(".minideeplab-*"))
