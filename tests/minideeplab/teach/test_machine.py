"""Drawings of what processors do, and the numbers behind them."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab import teach

LANE = np.arange(32)


@pytest.fixture(autouse=True)
def closed_figures():
    matplotlib.use("agg")
    yield
    plt.close("all")


@given(st.integers(1, 64), st.integers(0, 1000))
def test_lanes_a_step_apart_touch_as_many_pieces_as_their_span_or_one_each(step, start):
    touched = teach.sectors(start * 32 + 4 * step * LANE)
    assert touched == (32 if step >= 8 else (31 * 4 * step) // 32 + 1)


@pytest.mark.parametrize("name, shape, registers", [("a", (16, 8), 4), ("b", (8, 8), 2), ("c", (16, 8), 4)])
def test_each_register_of_each_lane_holds_one_element(name, shape, registers):
    held = teach.fragments()[name]
    assert held.shape == (*shape, 2)
    wanted = {(lane, register) for lane in range(32) for register in range(registers)}
    assert {tuple(pair) for pair in held.reshape(-1, 2).tolist()} == wanted


def test_the_lanes_hold_what_the_instruction_wants():
    """Lane 4 g + i: a0 .. a3 = A[g, i], A[g + 8, i], A[g, i + 4], A[g + 8, i + 4], as `kernels/cuda/llvm.py` says."""
    held = teach.fragments()
    g, i = 3, 2
    of_a = [(g, i), (g + 8, i), (g, i + 4), (g + 8, i + 4)]
    of_c = [(g, 2 * i), (g, 2 * i + 1), (g + 8, 2 * i), (g + 8, 2 * i + 1)]
    for name, places in (("a", of_a), ("b", [(i, g), (i + 4, g)]), ("c", of_c)):
        assert [held[name][place].tolist() for place in places] == [[4 * g + i, r] for r in range(len(places))]


def texts():
    return {text.get_text() for axes in plt.gcf().axes for text in axes.texts}


def test_a_tile_says_how_many_sums_it_holds():
    teach.draw_tile(6, 2, 8)
    assert {"2 loads", "6 loads", "12 sums\nin registers", "sum 5, 1"} <= texts()


def test_offsets_are_written_where_a_row_begins():
    teach.draw_offsets({"rate 2": [0, 2, 4, 20, 22, 24, 40, 42, 44]}, pitch=10, length=60)
    assert texts() == {"+0", "+20", "+40"}


@pytest.mark.parametrize("count, threads", [(10, 4), (8, 4), (1, 4)])
def test_every_output_has_a_thread_and_the_rest_idles(count, threads):
    teach.draw_blocks(count, threads)
    written = [text.get_text() for text in plt.gca().texts if text.get_position()[1] < 0]
    assert set(map(str, range(count))) <= set(written)
    assert written.count("idle") == -count % threads


def test_pieces_of_memory_are_counted():
    teach.draw_sectors({"near": 4 * LANE, "far": 32 * LANE}, 1024)
    assert texts() == {"4 pieces,\n100 % used", "32 pieces,\n12 % used"}


def test_drawings_of_matrices():
    held = teach.fragments()["c"]
    teach.draw_fragment(held, "C", 5)
    assert sum(patch.get_edgecolor() == matplotlib.colors.to_rgba(teach.RED) for patch in plt.gca().patches) == 4
    a, b = np.ones((4, 8)), np.ones((8, 4))
    teach.draw_slab(a, b, 4, 4, a @ b, teach.panels(1, 3))
    assert {"1", "8"} <= texts()
    teach.draw_owners(np.arange(16).reshape(4, 4), {3: teach.BLUE}, "threads")
    assert "thread 3" in texts()
