"""The inner loop: what one window does, whatever the optimizer, and that windows fit together."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers.analytic import adam, sgd
from l2o_tf.unrolling import unroll
from problems.base import make_seed
from tests.l2o_tf import numpy_reference as reference
from tests.l2o_tf import tiny

STEPS = 20
SEED = make_seed(3)


def begin(problem, optimizer, steps=STEPS):
    """`(loss_fn, state, batches, constants)` of a run."""
    params, constants = problem.init(SEED)
    state, batches = unroll.initial_state(optimizer, params, SEED), problem.sample(SEED, steps + 1)
    return (lambda p, b: problem.loss(p, constants, b)), state, batches, constants


def compiled(loss_fn, optimizer, **options):
    jit_compile = options.pop("jit_compile", False)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def window(state, batches):
        return unroll.unroll(loss_fn, optimizer, state, batches, **options)

    return window


def assert_same_state(actual, expected, rtol, atol):
    for ours, theirs in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("batch_size", [0, 4], ids=["all points", "minibatches"])
def test_follows_numpy(batch_size):
    """Losses, gradients, updates, parameters and states of 20 steps."""
    optimizer, weights = tiny.random_student(1, layers=(5, 4), spread=3.0, dtype="float64")
    problem = tiny.perceptron(batch_size, tf.float64)
    loss_fn, state, batches, constants = begin(problem, optimizer)
    after, trajectory = compiled(loss_fn, optimizer, record=True)(state, batches)
    expected = reference.unroll(
        tiny.numpy_loss(constants, batches),
        weights,
        tiny.flat(state.params),
        reference.zero_state(weights, tiny.SIZE),
        STEPS,
    )
    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(trajectory.losses, expected["losses"], **close)
    np.testing.assert_allclose(trajectory.grads, expected["grads"][:-1], **close)
    np.testing.assert_allclose(trajectory.updates, expected["deltas"], **close)
    np.testing.assert_allclose(tiny.flat(after.params), expected["thetas"][-1], **close)
    assert_same_state(after.optimizer, expected["state"], **close)
    assert np.ptp(expected["losses"]) > 0.01, "the student hardly moved"


def test_losses_are_before_each_update_and_after_the_last():
    """`f(x) = x²` by hand: gradient descent at rate 0.25 halves x at every step."""
    optimizer = sgd(0.25)
    state = unroll.initial_state(optimizer, {"x": tf.constant(8.0)}, SEED)
    state, trajectory = unroll.unroll(lambda params, _: params["x"] ** 2, optimizer, state, tf.zeros([4]), record=True)
    np.testing.assert_allclose(trajectory.losses, [64.0, 16.0, 4.0, 1.0])
    np.testing.assert_allclose(trajectory.grads[:, 0], [16.0, 8.0, 4.0])
    np.testing.assert_allclose(trajectory.updates[:, 0], [-4.0, -2.0, -1.0])
    assert state.params["x"] == 1.0


def test_each_step_has_its_own_batch_of_any_structure():
    """`f_t(x) = a_t x + b_t` with a dict of batches; the last one is for the loss after the last update."""
    optimizer = sgd(1.0)
    batches = {"a": tf.constant([1.0, 10.0, 100.0]), "b": tf.constant([0.25, 0.5, 0.75])}
    state, trajectory = unroll.unroll(
        lambda params, batch: batch["a"] * params["x"] + batch["b"],
        optimizer,
        unroll.initial_state(optimizer, {"x": tf.constant(0.0)}, SEED),
        batches,
    )
    np.testing.assert_allclose(trajectory.losses, [0.25, 10.0 * -1.0 + 0.5, 100.0 * -11.0 + 0.75])
    assert state.params["x"] == -11.0


def test_teachers_and_baselines_run_in_the_same_loop():
    problem, optimizer = tiny.perceptron(4), adam(0.05)
    loss_fn, state, batches, constants = begin(problem, optimizer)
    after, trajectory = compiled(loss_fn, optimizer)(state, batches)
    theta, rule, f, losses = tiny.flat(state.params), reference.Adam(0.05), tiny.numpy_loss(constants, batches), []
    for t in range(STEPS):
        loss, g = f(theta, t)
        losses.append(loss)
        theta = theta + rule(g)
    np.testing.assert_allclose(trajectory.losses, [*losses, f(theta, STEPS)[0]], rtol=1e-4)
    np.testing.assert_allclose(tiny.flat(after.params), theta, rtol=1e-4, atol=1e-4)
    assert int(after.index) == int(after.optimizer[0]) == STEPS


def test_nothing_is_recorded_unless_asked_for():
    optimizer = sgd()
    loss_fn, state, batches, _ = begin(tiny.perceptron(), optimizer, steps=2)
    _, trajectory = unroll.unroll(loss_fn, optimizer, state, batches)
    assert trajectory.losses.shape == (3,)
    assert trajectory.grads is None
    assert trajectory.updates is None


def test_two_windows_of_ten_are_one_of_twenty():
    """And one trace serves both, with everything that a window hands to the next."""
    optimizer, _ = tiny.random_student(4, spread=3.0)
    loss_fn, state, batches, _ = begin(tiny.perceptron(4), optimizer)
    whole, trajectory = compiled(loss_fn, optimizer)(state, batches)
    window = compiled(loss_fn, optimizer)
    middle, first = window(state, batches[:11])
    end, second = window(middle, batches[10:])
    np.testing.assert_allclose(first.losses, trajectory.losses[:11], rtol=1e-6)
    np.testing.assert_allclose(second.losses, trajectory.losses[10:], rtol=1e-6)
    assert_same_state(end, whole, rtol=0, atol=1e-6)
    assert window.experimental_get_tracing_count() == 1


def test_the_number_of_steps_may_be_a_tensor():
    """A leading axis that is unknown when traced: one trace for every length."""
    optimizer, _ = tiny.random_student(5, layers=(3,))
    loss_fn, state, batches, _ = begin(tiny.perceptron(4), optimizer)
    signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, state), tf.TensorSpec([None, 4], tf.int32)

    @tf.function(input_signature=signature, autograph=False)
    def window(state, batches):
        return unroll.unroll(loss_fn, optimizer, state, batches, record=True)

    _, full = compiled(loss_fn, optimizer, record=True)(state, batches)
    for steps in (1, 7, STEPS):
        after, trajectory = window(state, batches[: steps + 1])
        np.testing.assert_allclose(trajectory.losses, full.losses[: steps + 1], rtol=1e-6)
        np.testing.assert_allclose(trajectory.grads, full.grads[:steps], rtol=1e-5, atol=1e-7)
        moved = tiny.flat(state.params) + np.sum(full.updates[:steps], axis=0)
        np.testing.assert_allclose(tiny.flat(after.params), moved, atol=1e-6)
    assert window.experimental_get_tracing_count() == 1


def test_fewer_steps_than_there_are_batches():
    """Losses up to the last step that is taken, then 0; for XLA the number is an argument of one program."""
    optimizer, _ = tiny.random_student(5, layers=(3,))
    loss_fn, state, batches, _ = begin(tiny.perceptron(4), optimizer)
    after, full = compiled(loss_fn, optimizer, record=True)(state, batches[:8])

    def short(state, batches, num_steps):
        return unroll.unroll(loss_fn, optimizer, state, batches, record=True, num_steps=num_steps)

    for jit_compile in (False, True):
        window = tf.function(short, jit_compile=jit_compile, autograph=False)
        found, trajectory = window(state, batches, tf.constant(7))
        for ours, theirs in zip(trajectory, full, strict=True):
            np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-5, atol=1e-7)
            assert len(ours) > len(theirs)
            assert not np.any(ours[len(theirs) :])
        assert_same_state(found, after, rtol=1e-5, atol=1e-6)
    two, three = (window.experimental_get_compiler_ir(state, batches, tf.constant(n))("hlo") for n in (2, 3))
    assert two == three


def test_a_judge_of_its_own_changes_the_losses_and_nothing_else():
    """`f(x) = x²` is descended, `3 x` is what it is judged by."""
    optimizer = sgd(0.25)
    state = unroll.initial_state(optimizer, {"x": tf.constant(8.0)}, SEED)
    judge = lambda params, _: 3.0 * params["x"]  # noqa: E731
    state, trajectory = unroll.unroll(
        lambda params, _: params["x"] ** 2, optimizer, state, tf.zeros([3]), record=True, judge=judge
    )
    np.testing.assert_allclose(trajectory.losses, [24.0, 12.0, 6.0])
    np.testing.assert_allclose(trajectory.grads[:, 0], [16.0, 8.0])
    assert state.params["x"] == 2.0


def test_replayed_gradients_come_out_wherever_the_student_is():
    rng = np.random.default_rng(0)
    grads = rng.normal(size=[5, tiny.SIZE])
    params = {name: tf.constant(rng.normal(size=shape)) for name, shape in tiny.SHAPES.items()}
    optimizer = sgd(0.1)
    played = tf.constant(np.concatenate([grads, grads[:1]]))
    state, trajectory = unroll.unroll(
        unroll.replayed, optimizer, unroll.initial_state(optimizer, params, SEED), played, record=True
    )
    np.testing.assert_allclose(trajectory.grads, grads, rtol=1e-12)
    np.testing.assert_allclose(tiny.flat(state.params), tiny.flat(params) - 0.1 * grads.sum(axis=0), rtol=1e-10)
