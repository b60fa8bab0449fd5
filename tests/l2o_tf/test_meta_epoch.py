"""A compiled meta-epoch: windows in a row, an update of the meta-parameters after each."""

import functools
import re

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.training.lessons.lesson import Lesson, Outcome
from l2o_tf.training.meta_epoch import compile_meta_epoch
from l2o_tf.unrolling.objectives import total
from problems.base import fold, make_seed
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf import numpy_reference as reference

STEPS, WINDOWS = 5, 3
SEED, EPOCH = make_seed(4), tf.constant(0)
RATE = 0.01


def adam():
    return keras.optimizers.Adam(RATE, epsilon=1e-8)


def windows_of(count):
    return tf.fill([count], STEPS)


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
    lesson = lessons.own_trajectory(problem, student, objective=total)
    report = compile_meta_epoch(lesson, student.trainable_variables, adam())(SEED, EPOCH, windows_of(WINDOWS))
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
    lesson = lessons.own_trajectory(tiny.perceptron(4), student, objective=total)
    meta_epoch = compile_meta_epoch(lesson, student.trainable_variables, adam())
    for epoch, num_windows in enumerate((1, 4, 2)):
        report = meta_epoch(fold(SEED, epoch), tf.constant(epoch), windows_of(num_windows))
        assert report.num_windows == num_windows
    assert meta_epoch.experimental_get_tracing_count() == 1


def scripted(meta_losses, gradients, exploded=(False, False, False)):
    """A lesson of one meta-parameter in which window w gives what the lists say."""
    meta_losses, gradients, exploded = tf.constant(meta_losses), tf.constant(gradients), tf.constant(exploded)

    def window(carry, seed, num_steps):
        losses = tf.stack([0.0, meta_losses[carry]])
        return carry + 1, Outcome(meta_losses[carry], [gradients[carry]], losses, exploded[carry])

    return Lesson("scripted", lambda seed, epoch, horizon: tf.constant(0), window)


def test_a_window_that_is_not_finite_is_skipped_and_ends_the_run():
    """Whether the loss or the gradient is broken; what was learned before stays, the slots too."""
    nan, inf = float("nan"), float("inf")
    for losses, gradients in [([1.0, nan, 1.0], [1.0, 1.0, 1.0]), ([1.0, 1.0, 1.0], [1.0, inf, 1.0])]:
        phi, meta_optimizer, updates = keras.Variable(5.0), adam(), tf.Variable(0)
        meta_epoch = compile_meta_epoch(
            scripted(losses, gradients), [phi], meta_optimizer, after_update=functools.partial(updates.assign_add, 1)
        )
        report = meta_epoch(SEED, EPOCH, windows_of(3))
        assert (report.num_windows, bool(report.diverged)) == (2, True)
        np.testing.assert_allclose(phi, 5.0 - RATE, rtol=1e-6)
        assert meta_optimizer.iterations == updates == 1
        assert all(np.isfinite(variable).all() for variable in meta_optimizer.variables)


def test_the_next_meta_epoch_goes_on_with_the_slots():
    phi, meta_optimizer = keras.Variable(0.0), adam()
    meta_epoch = compile_meta_epoch(scripted([1.0, 1.0], [1.0, -0.5]), [phi], meta_optimizer)
    rule, expected = reference.Adam(RATE), 0.0
    for epoch in range(2):
        meta_epoch(SEED, tf.constant(epoch), windows_of(2))
        for g in (1.0, -0.5):
            expected += rule(g)
    np.testing.assert_allclose(phi, expected, rtol=1e-4)


def test_windows_of_different_lengths():
    """One trace; and with lengths that are all the same it does what it does with a fixed one."""
    student, before = tiny.random_student(2, layers=(3,))
    lesson = lessons.own_trajectory(tiny.perceptron(4), student, objective=total)
    found = []
    for length in (None, STEPS):
        tiny.assign(student, before)
        meta_epoch = compile_meta_epoch(lesson, student.trainable_variables, adam(), length)
        found.append((meta_epoch(SEED, EPOCH, windows_of(2)), [v.numpy() for v in student.trainable_variables]))
        if not length:
            report = meta_epoch(SEED, EPOCH, tf.constant([7, 1, 4]))
            assert (report.num_windows, report.num_steps) == (3, 12)
            assert meta_epoch.experimental_get_tracing_count() == 1
    np.testing.assert_allclose(found[0][0].meta_loss, found[1][0].meta_loss, rtol=1e-6)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_an_explosion_ends_the_run_but_is_learned_from():
    phi = keras.Variable(5.0)
    lesson = scripted([1.0, 2.0, 1.0], [1.0, 1.0, 1.0], exploded=[False, True, False])
    report = compile_meta_epoch(lesson, [phi], adam())(SEED, EPOCH, windows_of(3))
    assert (report.num_windows, bool(report.exploded), bool(report.diverged)) == (2, True, False)
    np.testing.assert_allclose(phi, 5.0 - 2 * RATE, rtol=1e-6)


def operations_of_the_host(lesson, student):
    """Types of operations that talk to Python, to files or to another device, in a meta-epoch and all it calls."""
    meta_epoch = compile_meta_epoch(lesson, student.trainable_variables, adam(), STEPS)
    graph = meta_epoch.get_concrete_function(SEED, EPOCH, windows_of(WINDOWS)).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert sum(node.op == "While" for node in nodes) > 1  # the windows, and the steps
    talk = re.compile("PyFunc|Print|String|Iterator|Dataset|Summary|Send|Recv|[Ff]eed|File|Save|Restore|Copy")
    return {node.op for node in nodes if talk.search(node.op)}


def test_nothing_leaves_the_device_in_a_meta_epoch():
    student, _ = tiny.random_student(1, layers=(4, 3))
    lesson = lessons.own_trajectory(tiny.perceptron(4), student, objective=total, jit_compile=True)
    assert operations_of_the_host(lesson, student) == set()

    def talkative(run, seed, num_steps):
        run, outcome = lesson.window(run, seed, num_steps)
        tf.print(outcome.meta_loss)
        return run, outcome

    assert operations_of_the_host(lesson._replace(window=talkative), student) == {"PrintV2", "StringFormat"}
