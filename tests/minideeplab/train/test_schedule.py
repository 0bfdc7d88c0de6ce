"""What changes from step to step: rates and shares as formulas."""

import numpy as np
import pytest

from minideeplab.nn import poly, step_policy
from minideeplab.train.schedule import Schedule


def test_without_warmup_the_rate_is_that_of_the_policy():
    poly_rates = Schedule(10, 5, 0.01, power=0.8, end_lr=0.001)
    step_rates = Schedule(10, 5, 0.01, every=3)
    for step in range(10):
        assert poly_rates.rate(step) == poly(0.01, step, 10, power=0.8, end_lr=0.001)
        assert step_rates.rate(step) == step_policy(0.01, step, 3)


@pytest.mark.parametrize("every", [None, 2])
def test_the_warmup_is_a_line_that_ends_at_the_policy(every):
    plain, warm = Schedule(10, 5, 0.01, every=every), Schedule(10, 5, 0.01, every=every, warmup=4)
    factors = [warm.rate(step) / plain.rate(step) for step in range(10)]
    np.testing.assert_allclose(factors, [0.25, 0.5, 0.75] + [1.0] * 7, rtol=1e-12)
    assert [warm.rate(step) for step in range(3, 10)] == [plain.rate(step) for step in range(3, 10)]


def test_the_share_of_hard_pixels_falls_along_a_line():
    assert [Schedule(10, 5, 0.01, hard_share=0.2).share(step) for step in (0, 9)] == [0.2, 0.2]
    ramp = Schedule(10, 5, 0.01, hard_share=0.2, hard_ramp=4)
    np.testing.assert_allclose([ramp.share(step) for step in range(6)], [1, 0.8, 0.6, 0.4, 0.2, 0.2], rtol=1e-12)
    assert Schedule(10, 5, 0.01, hard_ramp=4).share(2) == 1


def test_the_last_epoch_may_be_a_part():
    assert [Schedule(steps, 5, 0.01).epochs for steps in (1, 5, 6, 10)] == [1, 1, 2, 2]
