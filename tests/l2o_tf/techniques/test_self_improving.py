"""Self-improving: whose turn it is, whose update is applied, and through whom the meta-gradient flows."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers.analytic import adam, sgd
from l2o_tf.training.lessons.self_improving import Mixture, draw_turns, probabilities, with_turns
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.objectives import total
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf import numpy_reference as reference

STEPS = 6
EPOCH = tf.constant(0)
START, SEED = make_seed(1), make_seed(2)
OPTIONS = {"objective": total}


class TestProbabilities:
    @pytest.mark.parametrize("k", [1, 3])
    def test_all_are_equally_likely_at_the_start(self, k):
        np.testing.assert_allclose(probabilities(0, k, 100, None), np.full(k + 1, 1 / (k + 1)), rtol=1e-6)

    @pytest.mark.parametrize(("epoch", "left"), [(0, 1.0), (25, 0.75), (50, 0.5), (99, 0.01)])
    def test_auxiliaries_fade_out_linearly(self, epoch, left):
        expected = [1 - 0.6 * left, 0.2 * left, 0.2 * left, 0.2 * left]
        np.testing.assert_allclose(probabilities(tf.constant(epoch), 3, 100, 0.2), expected, rtol=1e-5)

    @pytest.mark.parametrize("epoch", [100, 101, 10_000])
    def test_only_the_student_is_left_in_the_end(self, epoch):
        np.testing.assert_array_equal(probabilities(tf.constant(epoch), 3, 100, None), [1, 0, 0, 0])

    def test_the_papers_experiment(self):
        np.testing.assert_allclose(probabilities(0, 3, 100, 0.33), [0.01, 0.33, 0.33, 0.33], rtol=1e-4)

    @pytest.mark.parametrize("probability", [-0.1, 0.34])
    def test_more_than_one_in_all_is_refused(self, probability):
        with pytest.raises(
            ValueError, match=rf"Received initial_probability={probability}, expected one in \[0, 1/3\]"
        ):
            lessons.self_improving(
                tiny.perceptron(), sgd(), ["adam", "sgd", "adagrad"], initial_probability=probability, **OPTIONS
            )


def drawn_turns(epoch, steps=2_000, **options):
    """Turns of one long window at a meta-epoch."""
    lesson = lessons.self_improving(tiny.perceptron(), sgd(), [adam(), sgd()], objective=total, **options)
    return draw_turns(lesson.start(START, tf.constant(epoch)).technique, SEED, steps).numpy()


@pytest.mark.parametrize(("epoch", "expected"), [(0, [1 / 3, 1 / 3, 1 / 3]), (15, [2 / 3, 1 / 6, 1 / 6])])
def test_turns_are_drawn_with_these_probabilities(epoch, expected):
    turns = drawn_turns(epoch, decay_epochs=30)
    np.testing.assert_allclose(np.bincount(turns, minlength=3) / 2_000, expected, atol=4 * 0.5 / 2_000**0.5)
    changes = np.mean(turns[1:] != turns[:-1])
    np.testing.assert_allclose(changes, 1 - np.sum(np.square(expected)), atol=4 * 0.5 / 2_000**0.5)


def test_turns_follow_the_seed_of_the_window():
    """And there are none left between windows, whose length may differ."""
    lesson = lessons.self_improving(tiny.perceptron(), sgd(0.5), [adam(0.5)], objective=total)
    run, losses = lesson.start(START, EPOCH), []
    for seed in (SEED, SEED, make_seed(3)):
        after, outcome = lesson.window(run, seed, 32)
        losses.append(outcome.losses.numpy())
        assert after.state.optimizer.turns.shape == [0]
    np.testing.assert_array_equal(losses[0], losses[1])
    assert not np.array_equal(losses[0], losses[2])


def test_when_all_turns_are_the_students_it_is_the_ordinary_lesson():
    """To the last bit, over two windows, auxiliaries and all."""
    student, _ = tiny.random_student(1, layers=(3,), spread=3.0)
    problem = tiny.perceptron(4)
    alone = lessons.own_trajectory(problem, student, **OPTIONS)
    mixed = lessons.self_improving(problem, student, [adam(), sgd()], decay_epochs=10, **OPTIONS)
    carries = [lesson.start(START, tf.constant(10)) for lesson in (alone, mixed)]
    for seed in (SEED, make_seed(3)):
        (carries[0], expected), (carries[1], outcome) = (
            alone.window(carries[0], seed, STEPS),
            mixed.window(carries[1], seed, STEPS),
        )
        np.testing.assert_array_equal(outcome.losses, expected.losses)
        np.testing.assert_array_equal(outcome.meta_loss, expected.meta_loss)
        for ours, theirs in zip(outcome.gradients, expected.gradients, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert np.any(theirs)


def test_when_all_turns_are_the_auxiliarys_the_student_learns_nothing():
    student, _ = tiny.random_student(1, layers=(3,), spread=3.0)
    problem = tiny.perceptron(4)
    teacher = lessons.own_trajectory(problem, adam(0.1), **OPTIONS)
    mixed = lessons.self_improving(problem, student, [adam(0.1)], initial_probability=1.0, **OPTIONS)
    carries = [lesson.start(START, EPOCH) for lesson in (teacher, mixed)]
    for seed in (SEED, make_seed(3)):
        (carries[0], expected), (carries[1], outcome) = (
            teacher.window(carries[0], seed, STEPS),
            mixed.window(carries[1], seed, STEPS),
        )
        np.testing.assert_allclose(outcome.losses, expected.losses, rtol=1e-6)
        assert len(outcome.gradients) == len(student.trainable_variables)
        assert not any(np.any(g) for g in outcome.gradients)
    np.testing.assert_allclose(tiny.flat(carries[1].state.params), tiny.flat(carries[0].state.params), rtol=1e-5)


@pytest.mark.parametrize("turns", [[0, 1, 2, 0, 1, 0], [2, 2, 0, 2, 2, 2], [1, 1, 1, 1, 1, 0]])
def test_turns_against_numpy(turns):
    """Everyone sees every gradient; one acts; the meta-gradient flows through the student's turns only."""
    student, weights = tiny.random_student(2, layers=(4, 3), spread=3.0, dtype="float64")
    problem, mixture = tiny.perceptron(4, tf.float64), Mixture(student, [adam(0.1), sgd(0.5)])
    params, constants = problem.init(START)
    batches = problem.sample(SEED, STEPS + 1)
    state = unroll.initial_state(mixture, params, START)
    state = state._replace(optimizer=with_turns(state.optimizer, tf.constant(turns)))
    _, gradients, after, trajectory = lessons.meta_gradient(
        lambda params, batch: problem.loss(params, constants, batch),
        mixture,
        state,
        batches,
        lambda trajectory: total(trajectory.losses),
        record=True,
    )
    run, others = expected_run(tiny.numpy_loss(constants, batches), weights, tiny.flat(params), turns)
    np.testing.assert_allclose(trajectory.losses, run["losses"], rtol=1e-9)
    np.testing.assert_allclose(tiny.flat(after.params), run["thetas"][-1], rtol=1e-9)
    expected = reference.meta_gradient(weights, run, reference.zero_state(weights, tiny.SIZE), others)
    tiny.assert_gradients(gradients, expected, rtol=1e-8)
    for ours, theirs in zip(after.optimizer.pool[0], run["state"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert after.optimizer.pool[1][0] == STEPS  # of Adam


def expected_run(loss, weights, theta, turns):
    """The mixture in NumPy; Adam's moments see every gradient, also where it is not its turn."""
    rule, proposals = reference.Adam(0.1), {}

    def seen(theta, t):
        value, g = loss(theta, t)
        if t < STEPS:
            proposals[t] = {1: rule(g), 2: -0.5 * g}
        return value, g

    others = {t: (lambda g, t=t, turn=turn: proposals[t][turn]) for t, turn in enumerate(turns) if turn}
    state = reference.zero_state(weights, theta.size)
    return reference.unroll(seen, weights, theta, state, STEPS, others), others


def test_the_meta_parameters_are_the_students():
    student, _ = tiny.random_student(2, layers=(3,))
    assert list(Mixture(student, [adam()]).named_variables) == list(student.named_variables)
