"""The suite distributed without MPI: what it refuses, what it makes of rounds, and what it records for a simulation."""

import json

import pytest

from minideeplab.bench import distributed, planning
from minideeplab.bench.__main__ import main
from minideeplab.bench.ranks import figures_of
from minideeplab.distributed import launch
from minideeplab.distributed.gradients import GradientSums
from minideeplab.distributed.group import ALONE
from minideeplab.models import build
from minideeplab.nn.layers import BatchNorm2d

TINY = {"backbone": "resnet18", "width": 0.125, "head_width": 16}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--simulate", "8"], "--simulate goes with --suite distributed"),
        (["--suite", "distributed", "--simulate", "1"], "--simulate needs 2 ranks or more, got 1"),
        (["--suite", "distributed", "--against", "torch"], "--suite distributed cannot be compared with torch"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words, capsys):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_without_an_mpi_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(launch.sys, "executable", "/nowhere/python")
    monkeypatch.setattr(launch.shutil, "which", lambda name: None)
    assert main(["--suite", "distributed"]) == 2
    err = capsys.readouterr().err
    assert "does not find mpiexec" in err and 'pip install -e ".[distributed]"' in err


def test_two_ranks_need_two_threads(monkeypatch):
    monkeypatch.setattr(distributed, "_launcher", lambda: "mpiexec")
    monkeypatch.setattr("kernels.num_threads", lambda: 1)
    with pytest.raises(distributed.UsageError, match="needs 2 threads, one a rank, got 1"):
        distributed.run(1, "float32")


def test_a_step_is_recorded_with_all_that_it_sends():
    model = build("deeplabv3plus", num_classes=21, **TINY)
    step = planning.recorded(1, 65, TINY, 1)  # batch norm of image pooling sees one value, and that of the other rank
    sent = planning._sent(step)
    norms = [layer.gamma.data.size for _, layer in model.named_modules() if isinstance(layer, BatchNorm2d)]
    assert sent["bucket_bytes"] == sum(p.data.nbytes for p in model.parameters())
    assert sent["buckets"] == len(GradientSums(model.parameters(), ALONE).buckets)
    assert sent["norms"] == 2 * len(norms) + 1  # forward, backward, and the loss
    assert sent["norm_bytes"] == sum(2 * 2 * 8 * channels for channels in norms) + 16
    assert 0 < step.update < sent["step_seconds"] and 0 < sent["backward_seconds"] < sent["step_seconds"]
    assert min(event.seconds for event in step.events) >= 0 and step.rest >= 0


def test_the_plan_and_its_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planning, "NETWORKS", {"tiny": (2, 65, TINY)})
    file = tmp_path / "plan.json"
    assert main(["--suite", "distributed", "--simulate", "6", "--repeats", "1", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    found = json.loads(file.read_text())["distributed"]
    (row,) = found["rows"]
    assert [link["name"] for link in found["links"]] == ["10 Gbit/s", "100 Gbit/s", "400 Gbit/s"]
    assert [each["ranks"] for each in row["all_reduce"]] == [2, 2, 2, 4, 4, 4]
    assert {(each["speed"], each["ranks"]) for each in row["simulated"]} == {
        (s, n) for s in (1, 10, 50) for n in (1, 2, 4)
    }
    assert all(each["efficiency"] == pytest.approx(1) for each in row["simulated"] if each["ranks"] == 1)
    assert all(0 < each["efficiency"] < 1 for each in row["simulated"] if each["ranks"] > 1)
    assert "tiny a rank" in out and "computing 50 times as fast" in out and out.count("100 Gbit/s") == 4


def rank(seconds, **counted):
    return {"seconds": seconds, "processor": 0.9 * seconds} | counted


def test_figures_are_medians_of_the_slowest_rank():
    """A step ends with its slowest rank; three rounds, of which the middle one counts."""
    alone = [[rank(s), rank(0.0)] for s in (1.0, 9.0, 0.9)]
    pairs = {
        "alone": alone,
        "independent": [[rank(1.0), rank(s)] for s in (1.1, 1.25, 1.4)],
        "synchronised": [[rank(2.0, waited=0.5, norm_waited=0.2, norms=3), rank(1.9, waited=0.3, norms=3)]] * 3,
        "own_statistics": [[rank(1.6, waited=0.1, buckets=2.0, bucket_bytes=7.0)] * 2] * 3,
        "divided": [[rank(0.8), rank(0.7)]] * 3,
        "one_rank_all_threads": [[rank(3.0), rank(0.0)]] * 3,
        "blocking": [[rank(0.1), rank(0.1)]] * 3,
    }
    found = figures_of(pairs, 1)
    assert (found["ranks"], found["seconds"]["alone"], found["seconds"]["independent"]) == (2, 1.0, 1.25)
    assert found["ceiling"] == pytest.approx(0.8)
    assert found["synchronised"]["efficiency"] == 0.5 and found["synchronised"]["of_ceiling"] == pytest.approx(0.625)
    assert found["synchronised"]["waited_norms"] == pytest.approx(0.1)
    assert found["synchronised"]["waited_buckets"] == pytest.approx(0.3)
    assert found["own_statistics"]["buckets"] == 2 and found["own_statistics"]["bucket_bytes"] == 7
    assert found["strong_efficiency"] == pytest.approx(1 / 0.8 / 2)
    assert found["threads_over_ranks"] == 1.5 and found["taken_by_others"] == pytest.approx(0.1)
    assert "strong_efficiency" not in figures_of({k: v for k, v in pairs.items() if k != "divided"}, 1)
