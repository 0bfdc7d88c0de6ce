"""The model of a step on many ranks: a step computed by hand, limits that are known, and what grows with what."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab.bench.schedule import (
    LINKS,
    Event,
    Link,
    Step,
    doubling,
    efficiency,
    faster,
    images_until,
    ring,
    simulate,
    tree,
)

IDEAL = Link("ideal", 0.0, math.inf)
UNIT = Link("unit", 0.0, 1.0)  # a byte a second
links = st.builds(Link, st.just("any"), st.floats(0, 1e-3), st.floats(1e3, 1e12))
events = st.builds(Event, st.floats(0, 1), st.integers(1, 10**9), st.booleans())
steps = st.builds(Step, st.lists(events, max_size=12).map(tuple), st.floats(0.001, 1), st.floats(0, 1))
all_reduces = st.sampled_from([ring, tree, faster])


def test_all_reduces_by_hand():
    link = Link("", 3.0, 5.0)
    assert ring(4, 100, link) == pytest.approx(2 * 3 * 3 + 2 * 3 / 4 * 100 / 5)
    assert tree(4, 100, link) == pytest.approx(2 * 2 * (3 + 100 / 5))
    assert doubling(4, 100, link) == pytest.approx(2 * (3 + 100 / 5))
    assert doubling(5, 100, link) == doubling(8, 100, link)  # a fifth rank takes a round of its own
    assert faster(4, 100, link) == ring(4, 100, link) and faster(4, 0.001, link) == tree(4, 0.001, link)


def test_a_step_by_hand():
    """Two ranks, a ring: a bucket of b bytes takes b seconds, a sum that is waited for as long.

    The rank computes 1, waits 2 for batch norm, computes 3: bucket A of 4 leaves at 6. It computes 1: bucket B of 5
    leaves at 10, when A is there. It computes 2, to 9, and waits until 15 for B. The update ends at 16.
    """
    step = Step((Event(1, 2, True), Event(3, 4, False), Event(1, 5, False)), rest=2, update=1)
    assert step.seconds == 8
    outcome = simulate(step, 2, UNIT, ring)
    assert (outcome.seconds, outcome.norms, outcome.exposed) == (16, 2, 6)
    assert efficiency(step, 2, UNIT, ring) == 0.5


def test_one_bucket_at_the_end_does_not_overlap():
    """Neither does it travel earlier than it is complete, nor does the rank go on without it."""
    step = Step((Event(5, 3, False),), rest=0, update=1)
    assert simulate(step, 2, UNIT, ring).seconds == 5 + 3 + 1
    hidden = Step((Event(2, 3, False),), rest=3, update=1)
    assert simulate(hidden, 2, UNIT, ring).seconds == hidden.seconds


@given(steps, links, all_reduces)
def test_one_rank_waits_for_nothing(step, link, all_reduce):
    outcome = simulate(step, 1, link, all_reduce)
    assert outcome.seconds == pytest.approx(step.seconds) and outcome.norms == outcome.exposed == 0


@given(steps, st.integers(1, 1000), all_reduces)
def test_an_ideal_link_costs_nothing(step, ranks, all_reduce):
    assert efficiency(step, ranks, IDEAL, all_reduce) == pytest.approx(1)


@given(steps, links, st.integers(1, 500), st.integers(0, 500), all_reduces)
def test_more_ranks_are_not_more_efficient(step, link, ranks, more, all_reduce):
    assert efficiency(step, ranks + more, link, all_reduce) <= efficiency(step, ranks, link, all_reduce) * (1 + 1e-9)


@given(steps, links, st.integers(1, 500), st.floats(1, 100), all_reduces)
def test_a_faster_link_is_not_less_efficient(step, link, ranks, factor, all_reduce):
    better = Link("better", link.latency / factor, link.bandwidth * factor)
    assert efficiency(step, ranks, better, all_reduce) >= efficiency(step, ranks, link, all_reduce) * (1 - 1e-9)


@given(steps, links, st.integers(1, 500), all_reduces)
def test_seconds_are_those_of_the_parts(step, link, ranks, all_reduce):
    outcome = simulate(step, ranks, link, all_reduce)
    assert outcome.seconds == pytest.approx(step.seconds + outcome.norms + outcome.exposed)


@given(steps, links, st.integers(2, 500), st.integers(2, 50))
def test_more_images_hide_more_and_a_faster_rank_hides_less(step, link, ranks, times):
    before = efficiency(step, ranks, link)
    assert efficiency(step.scaled(images=times), ranks, link) >= before - 1e-9
    assert efficiency(step.scaled(speed=times), ranks, link) <= before + 1e-9


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_images_until_the_target(link):
    step = Step((Event(0.01, 10**8, False),), rest=0, update=0.001)
    target = 0.9
    images = images_until(step, 64, link, target, limit=10_000)
    assert efficiency(step.scaled(images), 64, link) >= target > efficiency(step.scaled(images - 1), 64, link)
    assert images_until(step, 64, link, target, limit=images - 1) is None
