"""What a validation runs, and what it costs."""

import numpy as np
import pytest

from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers.analytic import sgd
from l2o_tf.training.validation import Validator
from problems.base import make_seed
from problems.transforms import rescale
from tests.l2o_tf import tiny

SEED = make_seed(3)


def validator(problems):
    return Validator(problems, sgd(0.5), unroll_length=4, jit_compile=False)


def test_one_problem_is_evaluated_like_any_other():
    problem = tiny.perceptron(4)
    validation = validator([problem])
    losses = validation.run(SEED, 3, 8)
    expected = rollouts.evaluate(problem, sgd(0.5), SEED, num_runs=3, num_steps=8, window=4).losses
    np.testing.assert_allclose(rollouts.recorded_losses(losses), expected, rtol=1e-6)
    assert validation.cost(losses, 1) == pytest.approx(expected[:, -1].mean(), rel=1e-6)
    assert validation.cost(losses, 3) == pytest.approx(expected[:, -3:].mean(), rel=1e-6)


def test_a_set_has_its_share_of_each_problem_and_costs_its_progress():
    problems = [tiny.perceptron(), rescale(tiny.perceptron(), 10.0)]
    validation = validator(problems)
    losses = validation.run(SEED, 3, 8)
    seeds = rollouts.run_seeds(SEED, 3)
    for problem, runs in zip(problems, ([0, 1], [2]), strict=True):
        compiled = rollouts.rollouts(problem, sgd(0.5), window=4)
        for run in runs:
            _, own = compiled.advance(compiled.start(seeds[run : run + 1]), seeds[run : run + 1], 0, 8)
            np.testing.assert_allclose(losses[run], own[0], rtol=1e-6)
    curves = rollouts.recorded_losses(losses)
    expected = np.mean(np.log(curves[:, -1] / losses[:, 0, 0]))
    assert validation.cost(losses, 1) == pytest.approx(expected, rel=1e-4)
    assert validation.cost(losses, 1) < 0


def test_a_run_that_diverged_makes_the_cost_nan():
    losses = np.ones([2, 1, 5])
    losses[0, 0, -1] = np.nan
    assert np.isnan(validator([tiny.perceptron()] * 2).cost(losses, 1))
