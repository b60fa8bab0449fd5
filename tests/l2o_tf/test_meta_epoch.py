"""A compiled meta-epoch: windows in a row, an update of the meta-parameters after each."""

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.meta_epoch import compile_meta_epoch
from l2o_tf.objectives import total
from l2o_tf.techniques.lesson import Lesson, Outcome, own_trajectory
from problems.base import fold, make_seed
from tests.l2o_tf import numpy_reference as reference
from tests.l2o_tf import tiny

STEPS, WINDOWS = 5, 3
SEED, EPOCH = make_seed(4), tf.constant(0)
RATE = 0.01


def adam():
    return keras.optimizers.Adam(RATE, epsilon=1e-8)


def by_hand(problem, weights):
    """The same meta-epoch in NumPy: `(weights, reports of the windows)`."""
    params, constants = problem.init(fold(SEED, 0))
    theta, state, windows = tiny.flat(params), reference.zero_state(weights, tiny.SIZE), []
    rules = {name: reference.Adam(RATE) for name in weights}
    for w in range(WINDOWS):
        loss = tiny.numpy_loss(constants, problem.sample(fold(SEED, 1, w), STEPS + 1))
        run = reference.unroll(loss, weights, theta, state, STEPS, scale=0.1)
        gradients = reference.meta_gradient(weights, run, state)
        weights = {name: value + rules[name](gradients[name]) for name, value in weights.items()}
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients.values()))
        windows.append((run["losses"].sum(), run["losses"][-1], norm))
        theta, state = run["thetas"][-1], run["state"]
    return weights, np.array(windows)


def test_follows_numpy():
    """Weights and report after three windows of backpropagation and Adam by hand."""
    student, weights = tiny.random_student(1, layers=(4, 3), spread=3.0, scale=0.1)
    problem, before = tiny.perceptron(4), tiny.in_float64(weights)
    lesson = own_trajectory(problem, student, unroll_length=STEPS, objective=total)
    report = compile_meta_epoch(lesson, student.trainable_variables, adam())(SEED, EPOCH, tf.constant(WINDOWS))
    expected, windows = by_hand(problem, before)
    for name, variable in student.named_variables.items():
        moved = np.abs(expected[name] - before[name]).max()
        assert moved > 0.5 * RATE
        np.testing.assert_allclose(variable, expected[name], rtol=0, atol=0.02 * moved, err_msg=name)
    np.testing.assert_allclose(report.meta_loss, windows[:, 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(report.final_loss, windows[-1, 1], rtol=1e-5)
    np.testing.assert_allclose(report.gradient_norm, windows[:, 2].max(), rtol=1e-4)
    assert (report.num_windows, bool(report.diverged)) == (WINDOWS, False)


def test_one_trace_serves_all_horizons():
    student, _ = tiny.random_student(2, layers=(3,))
    lesson = own_trajectory(tiny.perceptron(4), student, unroll_length=STEPS, objective=total)
    meta_epoch = compile_meta_epoch(lesson, student.trainable_variables, adam())
    for epoch, num_windows in enumerate((1, 4, 2)):
        report = meta_epoch(fold(SEED, epoch), tf.constant(epoch), tf.constant(num_windows))
        assert report.num_windows == num_windows
    assert meta_epoch.experimental_get_tracing_count() == 1


def scripted(meta_losses, gradients):
    """A lesson of one meta-parameter in which window w gives what the lists say."""
    meta_losses, gradients = tf.constant(meta_losses), tf.constant(gradients)

    def window(carry, seed):
        return carry + 1, Outcome(meta_losses[carry], [gradients[carry]], tf.stack([0.0, meta_losses[carry]]))

    return Lesson("scripted", lambda seed, epoch: tf.constant(0), window)


def test_a_window_that_is_not_finite_is_skipped_and_ends_the_run():
    """Whether the loss or the gradient is broken; what was learned before stays, the slots too."""
    nan, inf = float("nan"), float("inf")
    for losses, gradients in [([1.0, nan, 1.0], [1.0, 1.0, 1.0]), ([1.0, 1.0, 1.0], [1.0, inf, 1.0])]:
        phi, meta_optimizer = keras.Variable(5.0), adam()
        meta_epoch = compile_meta_epoch(scripted(losses, gradients), [phi], meta_optimizer)
        report = meta_epoch(SEED, EPOCH, tf.constant(3))
        assert (report.num_windows, bool(report.diverged)) == (2, True)
        np.testing.assert_allclose(phi, 5.0 - RATE, rtol=1e-6)
        assert meta_optimizer.iterations == 1
        assert all(np.isfinite(variable).all() for variable in meta_optimizer.variables)


def test_the_next_meta_epoch_goes_on_with_the_slots():
    phi, meta_optimizer = keras.Variable(0.0), adam()
    meta_epoch = compile_meta_epoch(scripted([1.0, 1.0], [1.0, -0.5]), [phi], meta_optimizer)
    rule, expected = reference.Adam(RATE), 0.0
    for epoch in range(2):
        meta_epoch(SEED, tf.constant(epoch), tf.constant(2))
        for g in (1.0, -0.5):
            expected += rule(g)
    np.testing.assert_allclose(phi, expected, rtol=1e-4)
