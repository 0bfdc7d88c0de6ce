"""`GradientSums`: sums in buckets are the sums, whenever a bucket leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks_in_threads import in_threads
from strategies import SIMULATED, normal

from minideeplab import Tensor, models, ops
from minideeplab.distributed import Alone, Replica
from minideeplab.distributed.gradients import BUCKET_BYTES, GradientSums
from minideeplab.nn import Parameter
from minideeplab.nn.initialisers import zeros

pytestmark = pytest.mark.skipif(SIMULATED, reason="gradients travel in host memory: no kernel to simulate")

parameters = st.lists(
    st.tuples(
        st.integers(1, 40),  # numbers in it
        st.sampled_from([np.float32, np.float64]),
        st.integers(0, 3),  # how often it is used; without a use it has no gradient
        st.booleans(),  # whether it is trained
    ),
    min_size=1,
    max_size=8,
)
buckets = st.sampled_from([1, 100, 300, BUCKET_BYTES])


def made(each):
    found = []
    for size, dtype, _, trained in each:
        p = Parameter((size,), zeros)
        p.data, p.requires_grad = p.data.astype(dtype), trained
        found.append(p)
    return found


def backward(each, found, rank, step):
    """The last parameters have their gradients first, as the last layers have; returns how many graphs there were.

    Each dtype has a graph of its own.
    """
    for p in found:
        p.grad = None
    for dtype in (np.float32, np.float64):
        total = Tensor(np.ones((), dtype), requires_grad=True)
        for i, ((size, own, uses, _), p) in enumerate(zip(each, found, strict=True)):
            for use in range(uses if own == dtype else 0):
                factor = normal(1000 * step + 100 * rank + 10 * i + use, (size,), dtype=dtype)
                total = total + ops.sum(p * Tensor(factor))
        total.backward()


@given(parameters, buckets, st.integers(1, 3))
def test_sums_are_the_sums_whatever_the_buckets(each, bucket_bytes, ranks):
    """Bit for bit, in the first step, which does not overlap, and in the next ones."""

    def gradients(group):
        found, steps = made(each), []
        sums = GradientSums(found, group, bucket_bytes)
        for step in (0, 0, 1):
            with sums.overlapping():
                backward(each, found, group.rank, step)
            sums.finish()
            steps.append([None if p.grad is None else p.grad.copy() for p in found])
        return steps

    def plain(group, step):
        found = made(each)
        backward(each, found, group.rank, step)
        return [p.grad if p.grad is None or not p.requires_grad else group.sum(p.grad) for p in found]

    expected = [in_threads(ranks, plain, step) for step in (0, 0, 1)]
    for rank, steps in enumerate(in_threads(ranks, gradients)):
        for step, found in enumerate(steps):
            for a, b, (_, dtype, uses, trained) in zip(found, expected[step][rank], each, strict=True):
                assert (a is None) == (b is None) == (uses == 0 or not trained)
                if a is not None:
                    assert a.dtype == dtype
                    np.testing.assert_array_equal(a, b)


CHAIN = [(10, np.float32, 1, True)] * 6  # of 40 bytes each


@pytest.mark.parametrize(("bucket_bytes", "number"), [(1, 6), (80, 3), (100, 3), (240, 1)])
def test_buckets_leave_in_backward_from_the_second_step_on(bucket_bytes, number):
    def starts(group):
        found = made(CHAIN)
        sums, counts = GradientSums(found, group, bucket_bytes), []
        for step in range(3):
            with sums.overlapping():
                backward(CHAIN, found, group.rank, step)
            counts.append(group.starts)
            sums.finish()
            counts.append(group.starts)
        return counts

    for counts in in_threads(2, starts):
        assert counts == [0, number, 2 * number, 2 * number, 3 * number, 3 * number]


def test_buckets_have_the_last_layers_first_and_one_dtype():
    found = made([(10, np.float32, 1, True)] * 3 + [(10, np.float64, 1, True), (10, np.float32, 1, False)])
    sums = GradientSums(found, Alone(), 80)
    assert [bucket.parameters for bucket in sums.buckets] == [[found[3]], [found[2], found[1]], [found[0]]]
    assert [bucket.flat.dtype for bucket in sums.buckets] == [np.float64, np.float32, np.float32]


def test_a_parameter_may_be_larger_than_a_bucket():
    found = made([(1000, np.float32, 1, True), (1, np.float32, 1, True)])
    assert [len(bucket.parameters) for bucket in GradientSums(found, Alone(), 100).buckets] == [1, 1]


@pytest.mark.parametrize("failing", [0, 1, 2], ids=["first step", "second step", "third step"])
def test_a_step_that_fails_before_a_sum_has_left_is_forgotten(failing):
    """Such as the first, and any that fails before the last layers are done."""

    def gradients(group, failing):
        found, steps = made(CHAIN), []
        sums = GradientSums(found, group)
        for step in range(4):
            try:
                with sums.overlapping():
                    backward(CHAIN[3:] if step == failing else CHAIN, found[3:] if step == failing else found, 0, step)
                    if step == failing:
                        raise MemoryError
                sums.finish()
                steps.append([p.grad for p in found])
            except MemoryError:
                sums.forget()
        return steps

    whole = in_threads(2, gradients, None)
    del whole[0][failing], whole[1][failing]
    for found, expected in zip(in_threads(2, gradients, failing), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_step_that_fails_with_sums_under_way_is_the_last():
    """Other ranks may have started other sums: what comes next would be added to the wrong gradients."""

    def fails(group):
        found = made(CHAIN)
        sums = GradientSums(found, group, 40)
        for step in range(2):
            with sums.overlapping():
                backward(CHAIN, found, group.rank, step)
            if step == 0:
                sums.finish()
        sums.forget()
        with pytest.raises(RuntimeError, match="a step has failed while sums were under way; start all ranks again"):
            with sums.overlapping():
                pass

    in_threads(2, fails)


def test_one_process_goes_on_after_any_fault():
    model = models.build("deeplabv3plus", num_classes=3, width=1 / 16, head_width=8)
    replica = Replica(model, Alone())
    images, labels = normal(0, (2, 33, 33, 3), dtype=np.float32), np.zeros((2, 33, 33), np.uint8)
    for fault in (True, False, True, False):
        loss = model.loss(Tensor(images), labels)
        try:
            with replica.summing():
                loss.backward()
                if fault:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert fault
    assert all(np.isfinite(p.grad).all() for p in model.parameters())


def test_another_graph_than_in_the_first_step_is_refused():
    """A parameter that is used more often would be summed before its gradient is complete."""
    found = made(CHAIN)
    sums = GradientSums(found, Alone())
    with sums.overlapping():
        backward(CHAIN, found, 0, 0)
    sums.finish()
    with pytest.raises(RuntimeError, match="backward took another way than in the first step"), sums.overlapping():
        for _ in range(2):
            backward(CHAIN, found, 0, 0)


def test_weights_that_parts_share_wait_for_their_last_use():
    """An image in three sizes, each part of the network computed again: a bucket leaves after the third use."""

    def gradients(group, bucket_bytes):
        model = models.build("deeplabv2-resnet101", num_classes=3, width=1 / 32).astype(np.float64).eval()
        model.checkpoint_activations()
        images = normal(group.rank, (1, 33, 33, 3))
        labels = np.full((1, 33, 33), group.rank, np.uint8)
        sums, found = GradientSums(model.parameters(), group, bucket_bytes), []
        for _ in range(2):
            for p in model.parameters():
                p.grad = None
            loss = model.loss(Tensor(images), labels)
            before = group.starts
            with sums.overlapping():
                loss.backward()
            left = group.starts - before
            sums.finish()
            found.append([p.grad for p in model.parameters()])
        return left, len(sums.buckets), found

    (left, number, found), (*_, others) = in_threads(2, gradients, 4096)
    assert left == number > 10
    (*_, expected), _ = in_threads(2, gradients, 1 << 30)
    for step in (*found, *others, expected[1]):
        for a, b in zip(step, expected[0], strict=True):
            np.testing.assert_array_equal(a, b)
