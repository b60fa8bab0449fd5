"""The backward pass in blocks is that of all coordinates: replayed, shared out among calls of XLA, kept in blocks."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import devices
from l2o_tf.optimizers import make_optimizer
from l2o_tf.optimizers.blocks import Blocked
from l2o_tf.training.lessons.imitation import half_mean_squared_error
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients import pull_back
from l2o_tf.unrolling.objectives import total
from problems.base import make_seed
from tests.l2o_tf import tiny
from tests.l2o_tf.test_meta_gradient import STEPS, Run


def both(trajectory):
    """An objective of the losses and of the updates, so that both have a cotangent."""
    return total(trajectory.losses) + half_mean_squared_error(0.1, trajectory.updates)


@pytest.mark.parametrize("xla", [None, "update", "window"])
def test_a_window_may_be_replayed_in_blocks(xla, monkeypatch):
    """Of 20 coordinates, of which the last one overlaps: 53 are 20 + 20 + 13."""
    run = Run()
    batches = run.batches[: STEPS + 1]
    monkeypatch.setattr(pull_back, "REPLAYED_AT_ONCE", 1)
    options = {"objective": both, "record": True}
    kept = unroll.meta_gradient(run.loss_fn, run.student, run.state, batches, **options)
    monkeypatch.setattr(pull_back, "MAX_BYTES", 2 * 20 * STEPS * 2 * (4 + 3) * 8)
    assert pull_back.replayed_size(run.student.loop(), run.state.optimizer, tiny.SIZE, STEPS) == 20
    replayed = tf.function(
        lambda state, batches: unroll.meta_gradient(run.loss_fn, run.student, state, batches, xla=xla, **options),
        autograph=False,
    )(run.state, batches)
    tiny.assert_gradients(replayed[1], run.named(kept[1]), rtol=1e-12)


@pytest.mark.parametrize("shares", [3, 16])
def test_the_backward_pass_may_take_blocks_at_the_same_time(shares, monkeypatch):
    """Of 16 coordinates, of which the last one overlaps: 53 are 16 + 16 + 16 + 5, of which a share has 2, or 1."""
    run = Run(layers=(3,))
    loop = run.student.loop()
    monkeypatch.setattr(run.student, "loop", lambda: loop._replace(blocks=loop.blocks._replace(cached=16)))
    monkeypatch.setattr(pull_back, "SHARES", shares)
    batches = run.batches[: STEPS + 1]
    expected, *rest = (
        tf.function(
            lambda state, batches, xla=xla: unroll.meta_gradient(
                run.loss_fn, run.student, state, batches, both, record=True, xla=xla
            )[1],
            autograph=False,
        )
        for xla in (None, "window", "update")
    )
    for compiled in rest:
        found, again = compiled(run.state, batches), compiled(run.state, batches)
        tiny.assert_gradients(found, run.named(expected(run.state, batches)), rtol=1e-9)
        assert all(np.array_equal(one, two) for one, two in zip(found, again, strict=True))


@pytest.mark.parametrize(("size", "jit_compile"), [(53, False), (20, False), (20, True)])
def test_states_may_be_kept_in_blocks(size, jit_compile):
    """Two windows, the second from the first one's state; one block of all, and blocks that overlap."""
    run = Run()
    blocked = Blocked(run.student, size)
    plain, in_blocks = (
        tf.function(
            lambda state, batches, student=student: unroll.meta_gradient(
                run.loss_fn, student, state, batches, both, record=True
            ),
            jit_compile=jit,
            autograph=False,
        )
        for student, jit in ((run.student, False), (blocked, jit_compile))
    )
    own, others = run.state, unroll.initial_state(blocked, run.state.params, make_seed(0))
    for batches in (run.batches[: STEPS + 1], run.batches[1 : STEPS + 2]):
        _, expected, own, trajectory = plain(own, batches)
        _, found, others, blocks = in_blocks(others, batches)
        np.testing.assert_allclose(blocks.losses, trajectory.losses, rtol=1e-10)
        np.testing.assert_allclose(blocks.updates, trajectory.updates, rtol=1e-9, atol=1e-12)
        tiny.assert_gradients(found, run.named(expected), rtol=1e-9)


@pytest.mark.parametrize("num_steps", [200, 500, 1000, 20_000])
def test_blocks_that_are_replayed_at_the_same_time_hold_half_of_the_limit(num_steps, monkeypatch):
    """Of L2O-DM on the paper's perceptron, 320 bytes of state per coordinate; on a processor of any number of cores."""
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    student, size = make_optimizer("L2O-DM"), 15_910
    start = student.loop().enter(student.initial_state({"x": tf.zeros([size])}, make_seed(0)))
    block = pull_back.replayed_size(student.loop(), start, size, num_steps)
    if num_steps == 200:
        assert block is None, "what fits is kept"
        return
    grads = np.broadcast_to(np.float32(0), [num_steps, size])  # only its shape is asked for
    kept = pull_back.Kept(grads, None, grads[0], start, None, None)
    shares = pull_back._num_shares(kept, block)
    assert pull_back.REPLAYED_AT_ONCE <= shares <= pull_back.SHARES
    assert block <= 1024
    assert 0.3 * 2**30 < 320 * num_steps * block * shares <= 0.5 * 2**30
