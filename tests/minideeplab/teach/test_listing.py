"""Programs to be looked at."""

import pytest
from numba import njit

from minideeplab import teach
from minideeplab.teach.listing import short_ptx


def twice(x):
    return 2 * x


def test_sources_stand_side_by_side():
    shown = teach.beside(twice, njit(twice), titles=["Python", "<Numba>"])
    assert repr(shown).count("return 2 * x") == 2
    assert shown._repr_html_().count("<td") == 2
    assert "&lt;Numba&gt;" in shown._repr_html_()


@pytest.mark.parametrize(
    "line, wanted",
    [
        ("\tvfmadd231ps\t(%rax), %ymm1, %ymm2 # a comment", "vfmadd231ps (%rax), %ymm1, %ymm2"),
        ("\tfmla\tv0.4s, v1.4s, v2.4s", "fmla v0.4s, v1.4s, v2.4s"),
        ("fma.rn.f32 %f6, %f2, %f1, %f5;", "fma.rn.f32 %f6, %f2, %f1, %f5;"),
        ("\tvaddps\t%ymm1, %ymm2, %ymm3", None),
        ("_fmadd_of_mine:", None),
    ],
)
def test_multiply_adds_of_three_machines(line, wanted):
    assert teach.multiply_adds(line) == ([wanted] if wanted else [])


def test_a_kernel_has_short_names():
    ptx = ".entry _Zf(\n.param .u64 _Zf_param_0\n)\n{\n\tld.param.u64 \t%rd1, [_Zf_param_0];\n\n\tret;\n}\n"
    assert short_ptx(ptx) == "ld.param.u64 %rd1, [param 0];\nret;"


def test_ptx_where_there_is_a_compiler():
    source = "def scale(x, f):\n    i = cuda.grid(1)\n    if i < x.size:\n        x[i] *= f\n"
    ptx = teach.ptx_of(source, "scale", "float32[::1], float32")
    assert ptx is None or "st.global.f32" in ptx
