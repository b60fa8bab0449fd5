import numpy as np
import pytest
import tensorflow as tf

from problems import make_problem
from problems.base import make_seed
from problems.transforms import random_scaling

SEED = make_seed(11)


def loss_and_gradients(problem, params, constants, batch):
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, constants, batch)
    return loss, tape.gradient(loss, params)


@pytest.mark.parametrize("name", ["digits", "quadratic", "simple_multi_optimizer"])
def test_the_same_loss_from_another_start_with_gradients_times_c(name):
    problem = make_problem(name)
    scaled = random_scaling(problem)
    params, constants = problem.init(SEED)
    start, scaled_constants = scaled.init(SEED)
    batch = problem.sample(SEED, 1)[0]
    assert np.array_equal(scaled.sample(SEED, 1)[0], batch)
    loss, gradients = loss_and_gradients(problem, params, constants, batch)
    scaled_loss, scaled_gradients = loss_and_gradients(scaled, start, scaled_constants, batch)
    np.testing.assert_allclose(scaled_loss, loss, rtol=1e-6)
    for key, c in scaled_constants.scale.items():
        np.testing.assert_allclose(start[key] * c, params[key], rtol=1e-6)
        np.testing.assert_allclose(scaled_gradients[key], c * gradients[key], rtol=1e-4, atol=1e-9)


def test_scales_are_log_uniform_for_each_coordinate_and_new_for_each_seed():
    scaled = random_scaling(make_problem("digits"), bound=2.0)
    logs = np.concatenate([np.log(c).ravel() for c in scaled.init(SEED)[1].scale.values()])
    assert -2.0 <= logs.min() < -1.95 and 1.95 < logs.max() <= 2.0
    assert abs(logs.mean()) < 0.1 and abs(logs.std() - 2.0 / np.sqrt(3)) < 0.03
    assert len(np.unique(logs)) > 1_500
    again = np.concatenate([np.log(c).ravel() for c in scaled.init(SEED)[1].scale.values()])
    other = np.concatenate([np.log(c).ravel() for c in scaled.init(make_seed(12))[1].scale.values()])
    assert np.array_equal(again, logs) and not np.array_equal(other, logs)
    assert np.abs(np.log(next(iter(random_scaling(make_problem("digits")).init(SEED)[1].scale.values())))).max() > 2.9


def test_the_whole_data_set_is_measured_at_the_scaled_parameters():
    problem = make_problem("digits")
    scaled = random_scaling(problem)
    measured = scaled.evaluate(*scaled.init(SEED))
    expected = problem.evaluate(*problem.init(SEED))
    np.testing.assert_allclose(measured["loss"], expected["loss"], rtol=1e-6)
    assert scaled.name == problem.name and scaled.data == problem.data
    assert random_scaling(make_problem("simple")).evaluate is None


def test_a_bound_of_zero_changes_nothing():
    problem = make_problem("digits")
    params, _ = problem.init(SEED)
    start, _ = random_scaling(problem, bound=0.0).init(SEED)
    for key in params:
        np.testing.assert_array_equal(start[key], params[key])


@pytest.mark.parametrize("bound", [-1.0, float("inf"), float("nan")])
def test_bad_bound(bound):
    with pytest.raises(ValueError, match="Received bound="):
        random_scaling(make_problem("simple"), bound)
