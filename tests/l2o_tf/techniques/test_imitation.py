"""Imitation: labels of a hand-made teacher, who alone decides the trajectory, and the student's gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.analytic import adam, sgd
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.training.lessons.imitation import DISTANCES, half_mean_squared_error, squared_error
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf import numpy_reference as reference

STEPS = 5
EPOCH = tf.constant(0)
START, SEEDS = make_seed(1), [make_seed(seed) for seed in (2, 3)]


class Notebook(Optimizer):
    """A student that learns nothing and gives away what it was shown.

    At step t its update is `a_t + b_t g_t` with meta-parameters a = b = 0. So the gradient of `Σ (label - update)²` is
    `-2 label_t` for `a_t` and `-2 label_t g_t` for `b_t`. t counts on over windows if its state is carried on.
    """

    name = "notebook"

    def __init__(self, steps):
        self._a, self._b = (keras.Variable(np.zeros([steps, tiny.SIZE]), dtype="float64") for _ in range(2))

    def initial_state(self, params, seed):
        del seed
        return tf.zeros([], tf.int32)

    def update(self, step, state):
        update = self._a.value[state] + self._b.value[state] * nest.flatten(step.grads)
        return nest.unflatten(update, like=step.params), state + 1

    @property
    def named_variables(self):
        return {"a": self._a, "b": self._b}


def notes(gradients, window):
    """`(labels, inputs)`, each `[STEPS, N]`, that the notebook was shown in a window; the rest of it must be empty."""
    a, b = (np.asarray(g) for g in gradients)
    rows = slice(window * STEPS, (window + 1) * STEPS)
    assert not np.delete(a, np.r_[rows], axis=0).any(), "a step was written on another's page"
    return -a[rows] / 2, b[rows] / a[rows]


@pytest.mark.parametrize(
    ("teacher", "k", "jit_compile"),
    [("sgd", 1, False), ("sgd", 3, False), ("adam", 1, False), ("adam", 3, False), ("adam", 3, True)],
)
def test_labels_and_inputs_are_those_of_the_teacher(teacher, k, jit_compile):
    """A label is the sum of k teacher updates, its input the first of the k gradients; over two windows."""
    problem, notebook = tiny.perceptron(4, tf.float64), Notebook(2 * STEPS)
    ours, rule = {"sgd": (sgd(0.5), lambda g: -0.5 * g), "adam": (adam(0.1), reference.Adam(0.1))}[teacher]
    lesson = lessons.imitation(
        problem, notebook, ours, teacher_steps=k, distance=squared_error, jit_compile=jit_compile
    )
    params, constants = problem.init(START)
    theta, carry = tiny.flat(params), lesson.start(START, EPOCH)
    for window, seed in enumerate(SEEDS):
        carry, outcome = lesson.window(carry, seed, STEPS)
        f, losses, grads, updates = tiny.numpy_loss(constants, problem.sample(seed, k * STEPS + 1)), [], [], []
        for t in range(k * STEPS):
            loss, g = f(theta, t)
            delta = rule(g)
            theta = theta + delta
            losses, grads, updates = [*losses, loss], [*grads, g], [*updates, delta]
        labels, inputs = notes(outcome.gradients, window)
        expected = np.reshape(updates, [STEPS, k, -1]).sum(axis=1)
        np.testing.assert_allclose(labels, expected, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(inputs, grads[::k], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(outcome.losses, [*losses, f(theta, k * STEPS)[0]], rtol=1e-9)
        np.testing.assert_allclose(outcome.meta_loss, np.sum(expected**2), rtol=1e-7)
        np.testing.assert_allclose(tiny.flat(carry.state.params), theta, rtol=1e-9)


def test_the_student_does_not_influence_the_trajectory():
    problem, results = tiny.perceptron(4), []
    for seed in (1, 2):
        student, _ = tiny.random_student(seed, layers=(3,), spread=9.0, scale=1.0)
        lesson = lessons.imitation(problem, student, adam(0.1), distance=squared_error)
        carry = lesson.start(START, EPOCH)
        for window in SEEDS:
            carry, outcome = lesson.window(carry, window, STEPS)
        results.append((outcome.losses, tiny.flat(carry.state.params), outcome.meta_loss))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert abs(results[0][2] - results[1][2]) > 1e-3, "two students as different as these were judged alike"


def test_the_students_gradient_follows_numpy_and_its_state_is_carried_on():
    """L2O-DM imitates gradient descent for two windows; the second starts from the first's states."""
    student, weights = tiny.random_student(3, layers=(4, 3), spread=3.0, dtype="float64")
    problem = tiny.perceptron(4, tf.float64)
    lesson = lessons.imitation(problem, student, sgd(0.5), distance=half_mean_squared_error)
    params, constants = problem.init(START)
    theta, state = tiny.flat(params), reference.zero_state(weights, tiny.SIZE)
    carry = lesson.start(START, EPOCH)
    for seed in SEEDS:
        carry, outcome = lesson.window(carry, seed, STEPS)
        f, grads = tiny.numpy_loss(constants, problem.sample(seed, STEPS + 1)), []
        for t in range(STEPS):
            grads.append(f(theta, t)[1])
            theta = theta - 0.5 * grads[-1]
        grads = np.stack(grads)
        loss, expected, state = reference.imitation(weights, grads, -0.5 * grads, state)
        np.testing.assert_allclose(outcome.meta_loss, loss, rtol=1e-9)
        tiny.assert_gradients(outcome.gradients, expected, rtol=1e-8)
        for ours, theirs in zip(carry.state.optimizer, state, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_distances():
    """Eq. (1) of the paper, and the original program's with its 1/2 and 1/N."""
    labels, updates = tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([[1.0, 4.0], [6.0, 4.0]])
    assert tf.reduce_sum(squared_error(labels, updates, 2)) == 13.0
    assert tf.reduce_sum(half_mean_squared_error(labels, updates, 2)) == 3.25
    assert set(DISTANCES.values()) == {squared_error, half_mean_squared_error}


def test_a_student_that_does_as_the_teacher_is_perfect():
    lesson = lessons.imitation(tiny.perceptron(4), sgd(0.2), sgd(0.2), distance=squared_error)
    _, outcome = lesson.window(lesson.start(START, EPOCH), SEEDS[0], STEPS)
    assert outcome.meta_loss == 0.0
    assert outcome.gradients == []


def test_records_say_who_the_teacher_was():
    names = [lessons.imitation(tiny.perceptron(), sgd(), teacher).name for teacher in (adam(), sgd())]
    assert names == ["imitation/adam", "imitation/sgd"]
