"""Every technique takes L2O-Scale as it is: its states have other shapes, and its first state is learned."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers import make_optimizer
from l2o_tf.optimizers.analytic import adam
from l2o_tf.unrolling.meta_gradients import WholeRun
from l2o_tf.unrolling.objectives import total
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny

STEPS = 3
LESSONS = {
    "own trajectory": lambda problem, student: lessons.own_trajectory(
        problem, student, objective=total, meta_gradient=WholeRun()
    ),
    "imitation": lambda problem, student: lessons.imitation(problem, student, adam(0.1)),
    "self-improving": lambda problem, student: lessons.self_improving(
        problem, student, [adam(0.1)], initial_probability=0.0, objective=total
    ),
}


@pytest.mark.parametrize("name", LESSONS)
def test_windows(name):
    """All weights learn from the window that begins a run; the initial vectors from no other."""
    options = {
        "levels": (4, 3, 5),
        "initial_learning_rates": (0.1, 0.1),
        "zero_learning_rate_weights": False,
        "seed": 1,
    }
    student = make_optimizer("L2O-Scale", options)
    lesson = LESSONS[name](tiny.perceptron(4), student)
    carry, found = lesson.start(make_seed(1), tf.constant(0)), []
    for seed in (2, 3):
        carry, outcome = lesson.window(carry, make_seed(seed), STEPS)
        assert np.isfinite(outcome.meta_loss)
        assert all(np.isfinite(gradient).all() for gradient in outcome.gradients)
        found.append([np.any(gradient) for gradient in outcome.gradients])
    assert all(found[0])
    assert found[1] == [not weight.endswith("init_vector") for weight in student.named_variables]


def test_evaluations_are_paired():
    """Runs with the same seed begin with the same learning rates, and two of one evaluation with different ones."""
    first, again, other = (
        rollouts.rollouts(tiny.perceptron(4), make_optimizer("L2O-Scale"), window=2)
        .start(rollouts.run_seeds(make_seed(seed), 2))[0]
        .optimizer.log_learning_rate.numpy()
        for seed in (5, 5, 6)
    )
    assert first.shape == (2, tiny.SIZE, 1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])
