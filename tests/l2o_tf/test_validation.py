"""What a validation runs, and what it costs."""

import numpy as np
import pytest

from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers.analytic import sgd
from l2o_tf.training.validation import Validation, Validator
from problems.base import make_seed
from problems.transforms.coordinates import rescale
from tests.l2o_tf import tiny

SEED = make_seed(3)


def run(problems, window=1):
    """`(cost, losses [3, 8])`."""
    settings = Validation(num_runs=3, window=window)
    return Validator(settings, problems, sgd(0.5), window=4, jit_compile=False).run(SEED, 8)


def test_one_problem_is_evaluated_like_any_other():
    problem = tiny.perceptron(4)
    expected = rollouts.run(problem, sgd(0.5), SEED, num_runs=3, num_steps=8, window=4).losses
    for window in (1, 3):
        cost, losses = run([problem], window)
        np.testing.assert_allclose(losses, expected, rtol=1e-6)
        assert cost == pytest.approx(expected[:, -window:].mean(), rel=1e-6)


def test_a_set_has_its_share_of_each_problem_and_costs_its_progress():
    problems = [tiny.perceptron(), rescale(tiny.perceptron(), 10.0)]
    cost, curves = run(problems)
    seeds, first = rollouts.run_seeds(SEED, 3), []
    for problem, runs in zip(problems, ([0, 1], [2]), strict=True):
        compiled = rollouts.rollouts(problem, sgd(0.5), window=4)
        for index in runs:
            own = seeds[index : index + 1]
            losses = compiled.advance(compiled.start(own), own, 0, 8)[1].numpy()
            np.testing.assert_allclose(curves[index], rollouts.recorded_losses(losses)[0], rtol=1e-6)
            first.append(losses[0, 0, 0])
    assert cost == pytest.approx(np.mean(np.log(curves[:, -1] / first)), rel=1e-4)
    assert cost < 0


def test_a_cost_that_is_no_number_is_refused():
    class Silent(Validation):
        def cost(self, first, losses, num_problems):
            return None

    validator = Validator(Silent(num_runs=1), [tiny.perceptron()], sgd(0.5), window=4, jit_compile=False)
    with pytest.raises(ValueError, match="Received a Silent whose cost returned None, expected a number"):
        validator.run(SEED, 4)


def test_a_run_that_diverged_makes_the_cost_nan():
    losses = np.ones([2, 5])
    losses[0, -1] = np.nan
    for num_problems in (1, 2):
        assert np.isnan(Validation().cost(losses[:, 0], losses, num_problems))


def test_refused():
    for name in ("period", "num_runs", "window"):
        with pytest.raises(ValueError, match=f"{name}=0, expected a positive integer"):
            Validation(**{name: 0})
    with pytest.raises(ValueError, match="window of 9, expected at most 8, the steps of a validation run"):
        Validation(window=9).check([8, 12])
    with pytest.raises(ValueError, match="expected at most 1,000,000,000 losses"):
        Validation(num_runs=10**5).check([20_000])
