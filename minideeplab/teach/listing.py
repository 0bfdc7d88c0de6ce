"""Programs to be looked at: two side by side, the instructions that a compiler made of one."""

import html
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence


class Beside:
    """Two texts, side by side in a notebook, one below the other in a terminal."""

    def __init__(self, texts: Sequence[str], titles: Sequence[str]):
        self.texts, self.titles = list(texts), list(titles)

    def __repr__(self):
        return "\n\n".join(f"{title}\n{text}" for title, text in zip(self.titles, self.texts, strict=True))

    def _repr_html_(self):
        cell = "<td style='vertical-align:top; text-align:left'><b>{}</b><pre style='font-size:85%'>{}</pre></td>"
        cells = (cell.format(*map(html.escape, pair)) for pair in zip(self.titles, self.texts, strict=True))
        return f"<table><tr>{''.join(cells)}</tr></table>"


def beside(*functions: Callable, titles: Sequence[str]) -> Beside:
    """The sources of functions side by side, to end a cell with.

    Args:
        functions: Python functions, or what Numba made of them; titles: one for each.
    """
    plain = (getattr(f, "py_func", None) or getattr(f, "fn", None) or f for f in functions)
    return Beside([textwrap.dedent(inspect.getsource(f)).rstrip() for f in plain], titles)


# a fused multiply-add as processors of Intel and AMD, of Arm, and GPUs write it
MULTIPLY_ADD = re.compile(r"\b(vfn?madd\w+|vmla\w*|fmla|fmadd|fma\.rn\.\w+)\b")


def multiply_adds(assembly: str) -> list[str]:
    """The lines of a compiled program that multiply and add in one instruction, without comments and tabs."""
    lines = (re.sub(r"\s+", " ", line.split("#")[0]).strip() for line in assembly.splitlines())
    return [line for line in lines if MULTIPLY_ADD.search(line)]


def ptx_of(source: str, name: str, signature: str, capability: tuple[int, int] = (8, 0)) -> str | None:
    """PTX, the GPU's assembly, of a kernel: its instructions, with short names. None where numba-cuda is not installed.

    No GPU is needed. It runs in a process of its own, because the simulator may be on in this one.

    Args:
        source: text of the function `name`, which may use `cuda`; signature: types of its arguments as Numba writes
            them, such as "float32[::1], int64"; capability: of the GPU to compile for.
    """
    found = subprocess.run(
        [sys.executable, "-c", _COMPILE, source, name, signature, *map(str, capability)],
        capture_output=True, text=True, env=_without_simulator(),
    )  # fmt: skip
    return short_ptx(found.stdout) if found.returncode == 0 else None


def short_ptx(ptx: str) -> str:
    """The body of a kernel's PTX, with names such as [param 4] instead of those that Numba makes."""
    body = re.sub(r"\[\w+_param_(\d+)\]", r"[param \1]", ptx[ptx.index("\n{") + 2 : ptx.rindex("}")])
    lines = (re.sub(r"\s+", " ", line).strip() for line in body.splitlines())
    return "\n".join(line for line in lines if line)


def _without_simulator():
    return {key: value for key, value in os.environ.items() if key != "NUMBA_ENABLE_CUDASIM"}


_COMPILE = """
import sys, types
from numba import cuda, types as number_types
from numba.core.sigutils import normalize_signature
if getattr(cuda, "implementation", "") != "NVIDIA":
    sys.exit(1)
import numba.cuda.dispatcher
source, name, signature, *capability = sys.argv[1:]
capability = tuple(map(int, capability))
numba.cuda.dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=capability)
space = {"cuda": cuda}
exec(source, space)
arguments, _ = normalize_signature(f"void({signature})")
print(cuda.compile_ptx(space[name], arguments, cc=capability)[0])
"""
