"""Modules of commands that can be called."""

import inspect
import subprocess
import sys
import types

import pytest

import minideeplab
from minideeplab.cli.callables import callable_module


def test_a_module_is_called_as_its_function_and_stays_a_module(monkeypatch):
    def twice(number: int, *, times: int = 2) -> int:
        """Twice a number."""
        return times * number

    module = types.ModuleType("minideeplab.twice", "A command.")
    module.main = lambda: 0
    monkeypatch.setitem(sys.modules, "minideeplab.twice", module)
    callable_module("minideeplab.twice", twice)
    assert module(4) == 8 and module(4, times=3) == 12
    assert isinstance(module, types.ModuleType) and module.main() == 0 and module.__doc__ == "A command."
    assert inspect.signature(module) == inspect.signature(twice)


def test_a_command_that_runs_is_left_alone():
    before = type(sys.modules["__main__"])
    callable_module("__main__", print)
    assert type(sys.modules["__main__"]) is before


def test_the_package_imports_no_command_before_it_is_asked_for():
    code = "import sys, minideeplab; assert {'fit', 'evaluate', 'predict'} <= set(dir(minideeplab)); "
    code += "print([n for n in ('evaluate', 'predict', 'train') if f'minideeplab.{n}' in sys.modules]); "
    code += "from minideeplab import evaluate; print(evaluate is sys.modules['minideeplab.evaluate'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\nTrue\n", done.stderr


def test_unknown_names_of_the_package_are_named():
    with pytest.raises(AttributeError, match="module 'minideeplab' has no attribute 'evalute'"):
        minideeplab.evalute  # noqa: B018
