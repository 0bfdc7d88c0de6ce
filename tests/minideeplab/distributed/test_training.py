"""The training command on several ranks: the run of one process, to rounding; the same bits after whatever happened."""

import contextlib
import json
import random
import shutil
import signal
import sys

import numpy as np
import pytest
from mpi_runs import needs_mpi, run, signals_reach_ranks, start
from train_runs import FILES, assert_same_run, command, without_times

from minideeplab.data import write_synthetic
from minideeplab.train.command import main
from minideeplab.weights import Checkpoint

pytestmark = needs_mpi
TRAIN = ("-m", "minideeplab.train")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    write_synthetic(root, train=12, val=5)
    return root


@pytest.fixture(scope="module")
def weights(data, tmp_path_factory):
    """Two files of weights that a run may begin with: the second is one rounding error away from the first."""
    folder = tmp_path_factory.mktemp("weights")
    assert main(command(data, folder / "out", length=("--steps", 1))) == 0
    checkpoint, signs = Checkpoint.load(folder / "out/last.npz"), np.random.default_rng(0)
    checkpoint.save(folder / "one.npz")
    for array in checkpoint.state.values():
        array *= 1 + np.finfo(np.float32).eps * signs.choice([-1, 0, 1], array.shape).astype(np.float32)
    checkpoint.save(folder / "other.npz")
    return folder / "one.npz", folder / "other.npz"


@pytest.fixture(scope="module")
def beginning(weights):
    """Options of all runs here: at large rates rounding grows a hundredfold in each step, in one process, too."""
    return "--batch-size", 6, "--lr", 0.0001, "--ema", 0.5, "--init-from", weights[0]


@pytest.fixture(scope="module")
def runs(data, beginning, weights, tmp_path_factory):
    """Ranks -> folder of a run of two epochs of two steps; 0: one process that begins a rounding error away."""
    folders = {ranks: tmp_path_factory.mktemp(f"ranks{ranks}") / "out" for ranks in (0, 1, 2, 3)}
    assert main(command(data, folders[0], *beginning[:-1], weights[1])) == 0
    assert main(command(data, folders[1], *beginning)) == 0
    for ranks in (2, 3):
        run(ranks, *TRAIN, *command(data, folders[ranks], *beginning), check=0)
    return folders


def distance(one, other):
    """Part of a checkpoint -> how far two runs are apart in it, as a share of its largest numbers."""
    first, second = (Checkpoint.load(folder / "last.npz") for folder in (one, other))
    found = {}
    for part in ("state", "trained", "optimiser"):
        arrays, others = getattr(first, part), getattr(second, part)
        assert arrays.keys() == others.keys()
        found[part] = max(np.abs(arrays[n] - others[n]).max() / max(np.abs(arrays[n]).max(), 1e-3) for n in arrays)
    return found


def assert_near(runs, other):
    """A run is no farther from that of one process than 10 times what a rounding error at the start makes of that."""
    allowed, found = distance(runs[1], runs[0]), distance(runs[1], other)
    assert all(found[part] <= 10 * allowed[part] for part in found), (found, allowed)
    assert max(allowed.values()) < 0.05  # else the bound says nothing


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_run_is_that_of_one_process(runs, ranks):
    assert_near(runs, runs[ranks])
    one, several = (without_times(runs[each] / "metrics.jsonl") for each in (1, ranks))
    np.testing.assert_allclose([row["loss"] for row in one], [row["loss"] for row in several], rtol=1e-5)
    assert {path.name for path in runs[ranks].iterdir()} - {".lock"} == FILES
    stored = json.loads((runs[ranks] / "args.json").read_text())
    assert stored["ranks"] == ranks and stored["arguments"]["sync_bn"] == "on"


def test_the_same_number_of_ranks_gives_the_same_bits(data, beginning, runs, tmp_path):
    for ranks in (2, 3):
        again = tmp_path / str(ranks)
        run(ranks, *TRAIN, *command(data, again, *beginning), check=0)
        assert_same_run(runs[ranks], again)
        for name in ("per_class.csv", "report/samples.json", "report/best.json"):
            assert (again / name).read_bytes() == (runs[ranks] / name).read_bytes(), name


def test_a_run_goes_on(data, beginning, runs, tmp_path):
    """On the same number of ranks bit for bit, on another to rounding, which the log tells."""
    out = tmp_path / "stopped"
    stopped = run(2, *TRAIN, *command(data, out, *beginning, "--stop-after", 1), check=0)
    assert f"mpiexec -n 2 {sys.executable} -m minideeplab.train --resume --out {out}" in stopped.stdout
    run(2, *TRAIN, "--resume", "--out", out, "--stop-after", 2, check=0)
    run(2, *TRAIN, "--resume", "--out", out, check=0)
    assert_same_run(runs[2], out)
    finished = run(2, *TRAIN, "--resume", "--out", out, check=0)
    assert "is finished" in finished.stdout

    out = tmp_path / "moved"
    run(2, *TRAIN, *command(data, out, *beginning, "--stop-after", 1), check=0)
    moved = run(3, *TRAIN, "--resume", "--out", out, check=0)
    assert "warning: 3 ranks (began with 2): the last digits may differ" in moved.stdout
    assert_near(runs, out)


@pytest.mark.parametrize("who", ["launcher", "rank"])
def test_a_signal_pauses_all(data, beginning, runs, tmp_path, who):
    if who == "launcher" and not signals_reach_ranks():
        pytest.skip("this launcher kills")
    out = tmp_path / "out"
    with start(2, *TRAIN, *command(data, out, *beginning)) as job:
        job.until("initial loss")
        job.send(signal.SIGTERM, job.pids()[1] if who == "rank" else None)
        ended = job.end(60)
    assert ended.code == 128 + signal.SIGTERM and ended.stdout.count("to continue:") == 1, ended
    assert (out / "last.npz").exists()
    run(2, *TRAIN, "--resume", "--out", out, check=0)
    assert_same_run(runs[2], out)


def test_a_bad_image_costs_no_step(beginning, tmp_path):
    """It goes bad after the check at the start: a rank meets it, all stop, and the first saves what was done."""
    copied, out = tmp_path / "voc", tmp_path / "out"
    write_synthetic(copied, train=12, val=5)
    with start(2, *TRAIN, *command(copied, out, *beginning, "--eval-every", 1000, length=("--epochs", 1000))) as job:
        job.until("initial loss")
        content = {image: image.read_bytes() for image in (copied / "JPEGImages").iterdir()}
        for image, whole in content.items():
            image.write_bytes(whole[: len(whole) // 2])
        ended = job.end(60)
    assert ended.code == 3 and ended.stderr.count("cannot be decoded") in (1, 2), ended  # each rank may meet one
    assert ended.stdout.count("to continue:") == 1
    steps = len((out / "metrics.jsonl").read_text().splitlines())
    assert Checkpoint.load(out / "last.npz").progress["step"] == steps > 0
    for image, whole in content.items():
        image.write_bytes(whole)
    run(2, *TRAIN, "--resume", "--out", out, "--stop-after", 1, check=0)


def test_a_checkpoint_that_cannot_be_written_ends_all(data, beginning, tmp_path):
    """The first rank meets it, and says so once; nobody waits for it."""
    out = tmp_path / "out"
    with start(2, *TRAIN, *command(data, out, *beginning, length=("--epochs", 1000))) as job:
        job.until("epoch 1/1000  loss")
        while not (out / "last.npz").is_dir():  # a folder in the place of the file
            (out / "last.npz").unlink(missing_ok=True)
            with contextlib.suppress(FileExistsError):
                (out / "last.npz").mkdir()
        ended = job.end(60)
    assert ended.code == 1 and ended.stderr.count("error: ") == 1 and "last.npz" in ended.stderr, ended


def test_a_run_that_diverges_says_so_once(data, tmp_path):
    out = tmp_path / "out"
    ended = run(2, *TRAIN, *command(data, out, "--lr", 1e30, length=("--epochs", 9)), timeout=60)
    assert ended.code == 5 and ended.stderr.count("error: training diverged") == 1, ended
    assert (out / "diverged.npz").exists()


def test_time_is_up_on_all_ranks_at_once(data, beginning, runs, tmp_path):
    out = tmp_path / "out"
    run(2, *TRAIN, *command(data, out, *beginning, "--minutes", 1e-6), check=0)
    assert Checkpoint.load(out / "last.npz").progress["step"] == 1
    run(2, *TRAIN, "--resume", "--out", out, check=0)
    assert_same_run(runs[2], out)


def test_a_killed_rank_ends_all_soon(data, beginning, runs, tmp_path):
    out = tmp_path / "out"
    with start(2, *TRAIN, *command(data, out, *beginning)) as job:
        job.until("epoch 1/2  loss")
        job.send(signal.SIGKILL, job.pids()[1])
        assert job.end(30).code != 0
    run(2, *TRAIN, "--resume", "--out", out, check=0)
    assert_same_run(runs[2], out)


@pytest.mark.long
def test_twenty_kills_cost_nothing(data, beginning, tmp_path):
    """A random rank at random moments."""
    moments, longer = random.Random(0), ("--epochs", 40)
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(3, *TRAIN, *command(data, whole, *beginning, length=longer), check=0, timeout=600)

    def begin_or_go_on():
        begun = (out / "last.npz").exists()
        return ("--resume", "--out", out) if begun else command(data, out, *beginning, length=longer)

    kills = 0
    while kills < 20:
        with start(3, *TRAIN, *begin_or_go_on()) as job:
            ended = job.wait(moments.uniform(1, 8))
            if ended is None:
                job.send(signal.SIGKILL, moments.choice(job.pids()))
                assert job.end(30).code != 0
                kills += 1
        if ended is not None:  # the end came first: this run is whole, and another one is killed on
            assert ended.code == 0, ended
            assert_same_run(whole, out)
            shutil.rmtree(out)
    run(3, *TRAIN, *begin_or_go_on(), check=0, timeout=600)
    assert_same_run(whole, out)


def test_ranks_that_do_not_fit_together_are_refused(data, tmp_path):
    """A launcher can start one command line on some ranks and another on the others."""
    out = tmp_path / "out"
    other = (":", "-n", 1, sys.executable, *TRAIN, *command(data, out, "--lr", 0.5))
    ended = run(1, *TRAIN, *command(data, out), *other, timeout=60)
    assert ended.code == 2, ended
    assert "the ranks do not fit together: --lr is 0.5 on rank 1 of 2" in ended.stderr
    assert not out.exists()


def test_a_batch_that_cannot_be_shared_is_refused(data, tmp_path):
    ended = run(3, *TRAIN, *command(data, tmp_path / "out", "--batch-size", 4), timeout=60)
    assert ended.code == 2 and ended.stderr.count("error:") == 1, ended
    assert "--batch-size 4: 3 ranks need a multiple of 3; give --batch-size 3 or 6" in ended.stderr


def test_trials_and_options_run_on_ranks(data, tmp_path):
    """A dry run, and the options of a step whose loss is summed over ranks."""
    dry = run(2, *TRAIN, *command(data, tmp_path / "dry", "--dry-run"), check=0)
    assert dry.stdout.count("grad ") == 1 and not (tmp_path / "dry").exists()
    options = "--batch-size 4 --accumulate 2 --class-weights root --hard-pixels 0.5 --sync-bn off".split()
    ended = run(2, *TRAIN, *command(data, tmp_path / "out", *options, length=("--steps", 2)), check=0)
    assert "2 ranks of 1 thread, each with its own batch norm" in ended.stdout
    assert "rank 1" not in ended.stdout + ended.stderr


def test_a_script_trains_on_ranks(data, tmp_path):
    """`fit` in a script that mpiexec has started; who fails ends all."""
    out = tmp_path / "out"
    options = f"crop_size=65, batch_size=2, width=0.125, head_width=16, steps=1, out={str(out)!r}"
    fit = f"minideeplab.fit({str(data)!r}, {options})"
    again = fit.replace("steps=1", "resume=True").replace(f"{str(data)!r}, crop_size=65, batch_size=2, ", "")
    again = again.replace("width=0.125, head_width=16, ", "")
    ended = run(2, "-c", f"import minideeplab; run = {fit}; {again}; print(len(run.history))", check=0)
    assert ended.stdout.splitlines().count("1") == 2 and (out / "last.npz").exists()
    ended = run(2, "-c", f"import minideeplab; {fit}", timeout=60)
    assert ended.code != 0 and "there is a run in this folder" in ended.stderr
