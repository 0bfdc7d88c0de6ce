"""--precision: where it is refused, what it sets, that it ends with the command; cores and GPUs of several ranks."""

import argparse
import os

import pytest
from strategies import SIMULATED

import kernels
from minideeplab import cli
from minideeplab.autograd.precision import precision, precision_in_use
from minideeplab.distributed import ALONE, Alone
from minideeplab.errors import UsageError


@pytest.fixture(autouse=True)
def float32_afterwards():
    with precision("float32"):
        yield


def arguments(*given):
    parser = argparse.ArgumentParser()
    cli.add_device_arguments(parser)
    return parser.parse_args(given)


def test_a_processor_without_bfloat16_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("kernels.cpu.bfloat16_block.FAST", False)
    monkeypatch.setattr("minideeplab.report.machine.processor", lambda: "Example 7000")
    assert not kernels.has_bfloat16()
    with pytest.raises(UsageError, match=r"needs a processor with AVX512_BF16 or AMX, which this one \(Example 7000\)"):
        cli.use_device(arguments("--precision", "bf16"))
    assert precision_in_use() == "float32"


def test_one_with_bfloat16_is_not(monkeypatch):
    monkeypatch.setattr("kernels.cpu.bfloat16_block.FAST", True)
    cli.use_device(arguments("--precision", "bf16"))
    assert precision_in_use() == "bf16"
    cli.use_device(arguments())
    assert precision_in_use() == "float32"


def test_not_on_a_gpu(monkeypatch):
    monkeypatch.setattr(kernels, "load", lambda name: None)
    with pytest.raises(UsageError, match="--precision bf16 is for --device cpu"):
        cli.use_device(arguments("--precision", "bf16", "--device", "cuda"))


def test_it_ends_with_the_command(monkeypatch):
    monkeypatch.setattr(kernels, "has_bfloat16", lambda: True)
    seen = []

    @cli.main_guard
    def main(argv):
        cli.use_device(arguments(*argv))
        seen.append(precision_in_use())
        if argv[-1] == "2":
            raise UsageError("something")
        return 0

    assert main(["--precision", "bf16", "--threads", "1"]) == 0
    assert main(["--precision", "bf16", "--threads", "2"]) == UsageError.exit_code
    assert seen == ["bf16", "bf16"] and precision_in_use() == "float32"


class Rank(Alone):
    """One of the ranks of a machine, by the cores that each may use."""

    def __init__(self, rank, *cores):
        self.rank = self.local_rank = rank
        self.size = self.local_size = len(cores)
        self.cores = cores

    def local_all(self, value):
        assert value == self.cores[self.rank]
        return list(self.cores)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell which cores a process has")
@pytest.mark.parametrize(
    ("given", "cores", "expected"),
    [
        ((), ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), 2),  # the same cores: divided
        ((), ([0, 1], [2, 3]), 2),  # each is bound to cores of its own
        ((), ([0, 1, 2, 3], [0, 1, 2, 3], [4]), 2),
        ((), ([0], [0], [0]), 1),  # more ranks than cores
        ((), ([*range(40)], [*range(40)]), 8),  # no more than NUMBA_NUM_THREADS
        (("--threads", "5"), ([0, 1], [0, 1]), 5),  # whoever asks gets what was asked for
    ],
)
def test_ranks_of_a_machine_divide_its_cores(monkeypatch, given, cores, expected):
    used = [8]
    monkeypatch.setattr(kernels, "num_threads", lambda: used[-1])
    monkeypatch.setattr(kernels, "set_num_threads", used.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(cores[0]))
    assert cli.set_threads(arguments(*given), Rank(0, *cores)) == expected == used[-1]


def test_one_process_has_all_threads(monkeypatch):
    monkeypatch.setattr(kernels, "set_num_threads", lambda count: 1 / 0)
    assert cli.set_threads(arguments()) == kernels.num_threads()


def test_what_is_said_of_ranks():
    ranks = Rank(1, [0], [1], [2])
    assert cli.threads_text(1, ALONE) == "1 thread" and cli.threads_text(2, ranks) == "3 ranks of 2 threads"
    assert cli.on_ranks("train", ALONE) == "train" and cli.on_ranks("train", ranks) == "train on 3 ranks"


class Gpus:
    """What `kernels.cuda.device` calls, on a machine with three."""

    gpus = ("a", "b", "c")

    def __init__(self):
        self.chosen = []

    def select_device(self, number):
        self.chosen.append(number)


@pytest.mark.skipif(not SIMULATED, reason="runs in the CUDA simulator: NUMBA_ENABLE_CUDASIM=1")
def test_ranks_of_a_machine_take_its_gpus_in_turn(monkeypatch):
    from kernels.cuda import device

    cores = sorted(os.sched_getaffinity(0))
    options = arguments("--device", "cuda")
    cli.use_device(options, Rank(1, cores, cores))  # in the simulator: nothing to choose
    found = Gpus()
    with monkeypatch.context() as patch:
        patch.setattr(device, "SIMULATED", False)
        patch.setattr(device, "cuda", found)
        patch.setattr(kernels.load("cuda"), "set_precision", lambda name: found.chosen.append(name))
        cli.use_device(options, Rank(4, *[cores] * 5))
        cli.use_device(options)  # one process takes the first, as Numba does
    assert found.chosen == [1, "float32", "float32"]
