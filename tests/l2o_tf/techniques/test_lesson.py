"""The ordinary lesson: what a window teaches, and what it hands to the next."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.objectives import final, total
from l2o_tf.techniques.lesson import own_trajectory
from problems.base import make_seed
from tests.l2o_tf import numpy_reference as reference
from tests.l2o_tf import tiny

STEPS = 6
EPOCH = tf.constant(0)
START, SEEDS = make_seed(1), [make_seed(seed) for seed in (2, 3)]


def lesson_of(student, problem, **options):
    return own_trajectory(problem, student, **{"unroll_length": STEPS, "objective": total} | options)


@pytest.mark.parametrize(("layers", "jit_compile"), [((4, 3), False), ((3,), True)])
def test_two_windows_follow_numpy(layers, jit_compile):
    """Fresh minibatches in each window, the state carried on, the gradient of each window alone."""
    student, weights = tiny.random_student(1, layers=layers, spread=3.0, dtype="float64")
    problem = tiny.perceptron(4, tf.float64)
    lesson = lesson_of(student, problem, jit_compile=jit_compile)
    params, constants = problem.init(START)
    theta, state = tiny.flat(params), reference.zero_state(weights, tiny.SIZE)
    carry = lesson.start(START, EPOCH)
    np.testing.assert_array_equal(tiny.flat(carry[0].params), theta)
    for seed in SEEDS:
        carry, outcome = lesson.window(carry, seed)
        loss = tiny.numpy_loss(constants, problem.sample(seed, STEPS + 1))
        expected = reference.unroll(loss, weights, theta, state, STEPS)
        np.testing.assert_allclose(outcome.losses, expected["losses"], rtol=1e-9)
        np.testing.assert_allclose(outcome.meta_loss, expected["losses"].sum(), rtol=1e-9)
        tiny.assert_gradients(outcome.gradients, reference.meta_gradient(weights, expected, state), rtol=1e-8)
        theta, state = expected["thetas"][-1], expected["state"]
        np.testing.assert_allclose(tiny.flat(carry[0].params), theta, rtol=1e-9, atol=1e-12)


def test_the_objective_decides():
    student, _ = tiny.random_student(2, layers=(3,))
    lesson = lesson_of(student, tiny.perceptron(4), objective=final)
    _, outcome = lesson.window(lesson.start(START, EPOCH), SEEDS[0])
    assert outcome.meta_loss == outcome.losses[-1]


def test_second_derivatives_can_be_asked_for():
    student, _ = tiny.random_student(2, layers=(3,), spread=3.0, scale=0.3)
    outcomes = []
    for second in (False, True):
        lesson = lesson_of(student, tiny.perceptron(4), second_derivatives=second)
        outcomes.append(lesson.window(lesson.start(START, EPOCH), SEEDS[0])[1])
    np.testing.assert_allclose(outcomes[0].losses, outcomes[1].losses, rtol=1e-6)
    assert not np.allclose(outcomes[0].gradients[0], outcomes[1].gradients[0], rtol=1e-3)


def test_seeds_decide_everything():
    student, _ = tiny.random_student(3, layers=(3,))
    lesson = lesson_of(student, tiny.perceptron(4))

    def losses(start, window):
        return lesson.window(lesson.start(start, EPOCH), window)[1].losses.numpy()

    np.testing.assert_array_equal(losses(START, SEEDS[0]), losses(START, SEEDS[0]))
    assert not np.array_equal(losses(START, SEEDS[0]), losses(START, SEEDS[1])), "the same minibatches"
    assert not np.array_equal(losses(START, SEEDS[0]), losses(SEEDS[0], SEEDS[0])), "the same parameters"
