"""`python -m minideeplab.bench --suite distributed`, on two ranks of MPI."""

import json

import pytest
from mpi_runs import needs_mpi
from strategies import SIMULATED

from minideeplab.bench import distributed
from minideeplab.bench.__main__ import main
from minideeplab.errors import MiniDeepLabError
from minideeplab.models import build
from minideeplab.nn.layers import BatchNorm2d

TINY = {"backbone": "resnet18", "width": 0.125, "head_width": 16}


pytestmark = [
    needs_mpi,
    pytest.mark.skipif(SIMULATED, reason="the suite is of the CPU"),
]


@pytest.mark.parametrize("images", [2, 1])
def test_the_table_and_the_json(images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(distributed, "NETWORKS", {"tiny": (images, 65, TINY)})
    monkeypatch.setattr("kernels.num_threads", lambda: 2)  # also where there is one core
    file = tmp_path / "figures.json"
    assert main(["--suite", "distributed", "--repeats", "1", "--json", str(file)]) == 0
    (row,) = json.loads(file.read_text())["distributed"]["rows"]
    out = capsys.readouterr().out
    model = build("deeplabv3plus", num_classes=21, **TINY)
    size = sum(p.data.nbytes for p in model.parameters())
    norms = sum(isinstance(layer, BatchNorm2d) for _, layer in model.named_modules())
    assert row["network"] == "tiny" and row["ranks"] == 2 and row["threads_a_rank"] == 1
    assert min(row["seconds"].values()) > 0
    for job in ("synchronised", "own_statistics"):
        assert row[job]["bucket_bytes"] == size and 0 < row[job]["efficiency"]
    assert row["synchronised"]["norms"] == 2 * norms + 1  # forward, backward; the loss
    assert row["own_statistics"]["norms"] == 2  # the loss, and the running statistics
    assert ("divided" in row["seconds"]) == ("strong_efficiency" in row) == (images == 2)
    assert "tiny a rank; 2 ranks of 1 thread" in out and "the ceiling" in out


def test_ranks_that_fail_end_the_command(monkeypatch, capfd):
    monkeypatch.setattr(distributed, "NETWORKS", {"odd": (1, 65, {"backbone": "no such"})})
    monkeypatch.setattr("kernels.num_threads", lambda: 2)
    with pytest.raises(MiniDeepLabError, match="the ranks have ended with exit code"):
        distributed.run(1, "float32")
    assert "no such" in capfd.readouterr().err
