"""--precision: where it is refused, what it sets, and that it ends with the command."""

import argparse

import pytest

import kernels
from minideeplab import cli
from minideeplab.autograd.precision import precision, precision_in_use
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
