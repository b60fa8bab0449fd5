"""The ordinary lesson: what a window teaches, and what it hands to the next."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.unrolling.meta_gradients import WholeRun
from l2o_tf.unrolling.objectives import final, total
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf import numpy_reference as reference

STEPS = 6
EPOCH = tf.constant(0)
START, SEEDS = make_seed(1), [make_seed(seed) for seed in (2, 3)]


def lesson_of(student, problem, **options):
    return lessons.own_trajectory(problem, student, **{"objective": total} | options)


@pytest.mark.parametrize(("layers", "jit_compile"), [((4, 3), False), ((3,), True)])
def test_two_windows_follow_numpy(layers, jit_compile):
    """Fresh minibatches in each window, the state carried on, the gradient of each window alone."""
    student, weights = tiny.random_student(1, layers=layers, spread=3.0, dtype="float64")
    problem = tiny.perceptron(4, tf.float64)
    lesson = lesson_of(student, problem, jit_compile=jit_compile)
    params, constants = problem.init(START)
    theta, state = tiny.flat(params), reference.zero_state(weights, tiny.SIZE)
    carry = lesson.start(START, EPOCH)
    np.testing.assert_array_equal(tiny.flat(carry.state.params), theta)
    for seed in SEEDS:
        carry, outcome = lesson.window(carry, seed, STEPS)
        loss = tiny.numpy_loss(constants, problem.sample(seed, STEPS + 1))
        expected = reference.unroll(loss, weights, theta, state, STEPS)
        np.testing.assert_allclose(outcome.losses, expected["losses"], rtol=1e-9)
        np.testing.assert_allclose(outcome.meta_loss, expected["losses"].sum(), rtol=1e-9)
        tiny.assert_gradients(outcome.gradients, reference.meta_gradient(weights, expected, state), rtol=1e-8)
        theta, state = expected["thetas"][-1], expected["state"]
        np.testing.assert_allclose(tiny.flat(carry.state.params), theta, rtol=1e-9, atol=1e-12)


def test_the_objective_decides():
    student, _ = tiny.random_student(2, layers=(3,))
    lesson = lesson_of(student, tiny.perceptron(4), objective=final)
    _, outcome = lesson.window(lesson.start(START, EPOCH), SEEDS[0], STEPS)
    assert outcome.meta_loss == outcome.losses[-1]


def test_second_derivatives_can_be_asked_for():
    student, _ = tiny.random_student(2, layers=(3,), spread=3.0, scale=0.3)
    outcomes = []
    for second in (False, True):
        lesson = lesson_of(student, tiny.perceptron(4), meta_gradient=WholeRun() if second else None)
        outcomes.append(lesson.window(lesson.start(START, EPOCH), SEEDS[0], STEPS)[1])
    np.testing.assert_allclose(outcomes[0].losses, outcomes[1].losses, rtol=1e-6)
    assert not np.allclose(outcomes[0].gradients[0], outcomes[1].gradients[0], rtol=1e-3)


def test_seeds_decide_everything():
    student, _ = tiny.random_student(3, layers=(3,))
    lesson = lesson_of(student, tiny.perceptron(4))

    def losses(start, window):
        return lesson.window(lesson.start(start, EPOCH), window, STEPS)[1].losses.numpy()

    np.testing.assert_array_equal(losses(START, SEEDS[0]), losses(START, SEEDS[0]))
    assert not np.array_equal(losses(START, SEEDS[0]), losses(START, SEEDS[1])), "the same minibatches"
    assert not np.array_equal(losses(START, SEEDS[0]), losses(SEEDS[0], SEEDS[0])), "the same parameters"


def test_the_objective_knows_where_the_run_began():
    """`first` is the loss at step 0 of the run in every window."""
    student, _ = tiny.random_student(2, layers=(3,), spread=3.0, scale=0.3)
    lesson = lesson_of(student, tiny.perceptron(4), objective=lambda losses, first: first + 0.0 * losses[-1])
    carry = lesson.start(START, EPOCH)
    carry, early = lesson.window(carry, SEEDS[0], STEPS)
    carry, late = lesson.window(carry, SEEDS[1], STEPS)
    assert early.meta_loss == late.meta_loss == early.losses[0] == carry.first
    assert early.losses[0] != late.losses[0]


@pytest.mark.parametrize("second", [False, True])
def test_judged_by_all_points_while_it_learns_from_minibatches(second):
    """The losses are those of all points; the trajectory remains that of the minibatches."""
    student, _ = tiny.random_student(2, layers=(3,), spread=3.0, scale=0.3)
    problem = tiny.perceptron(4)
    outcomes = [
        lesson_of(student, problem, judge=judge, meta_gradient=WholeRun() if second else None)
        for judge in (None, lambda params, constants: problem.measure(params, constants)["loss"])
    ]
    (run, plain), (judged_run, judged) = (o.window(o.start(START, EPOCH), SEEDS[0], STEPS) for o in outcomes)
    np.testing.assert_allclose(tiny.flat(judged_run.state.params), tiny.flat(run.state.params), rtol=1e-6)
    whole = problem.measure(run.state.params, run.constants)["loss"]
    np.testing.assert_allclose(judged.losses[-1], whole, rtol=1e-6)
    assert plain.losses[-1] != judged.losses[-1]
    assert not np.allclose(plain.gradients[0], judged.gradients[0], rtol=1e-3)


@pytest.mark.parametrize(("growth", "ends"), [(0.0, False), (1.001, True), (1e6, False)])
def test_a_run_that_explodes(growth, ends):
    student, _ = tiny.random_student(2, layers=(3,), spread=3.0, scale=30.0)
    lesson = lesson_of(student, tiny.perceptron(), max_growth=growth)
    _, outcome = lesson.window(lesson.start(START, EPOCH), SEEDS[0], STEPS)
    assert 1.001 < outcome.losses[-1] / outcome.losses[0] < 1e6
    assert bool(outcome.exploded) == ends


def test_windows_of_any_length():
    """As a tensor the number of steps gives the same, whatever it is, with one trace."""
    student, _ = tiny.random_student(2, layers=(3,), spread=3.0)
    lesson = lesson_of(student, tiny.perceptron(4))
    window = tf.function(lesson.window, autograph=False)
    for steps in (STEPS, 2, 9):
        run = lesson.start(START, EPOCH)
        (after, outcome), (expected_run, expected) = (
            function(run, SEEDS[0], length)
            for function, length in ((window, tf.constant(steps)), (lesson.window, steps))
        )
        assert outcome.losses.shape == (steps + 1,)
        np.testing.assert_allclose(outcome.losses, expected.losses, rtol=1e-6)
        np.testing.assert_allclose(tiny.flat(after.state.params), tiny.flat(expected_run.state.params), rtol=1e-6)
        np.testing.assert_allclose(outcome.gradients[0], expected.gradients[0], rtol=1e-4, atol=1e-7)
    assert window.experimental_get_tracing_count() == 1
