"""RNNprop's convex helper beside the problem that it helps."""

import numpy as np
import pytest
import tensorflow as tf

from problems import make_problem
from problems.base import make_seed, objective_of
from problems.transforms.convex_term import KEY, convex_term
from problems.transforms.coordinates import measured_on_minibatches
from tests.problems.gradients import loss_and_gradients

SEED = make_seed(11)


@pytest.mark.parametrize("name", ["digits", "quadratic"])
def test_loss_and_slopes_against_numpy(name):
    """Coordinates near their target and far away from it, where the square is cut; the problem's own are untouched."""
    problem = make_problem(name)
    extended = convex_term(problem, num_dims=5)
    (params, constants), batch = extended.init(SEED), extended.sample(SEED, 1)[0]
    inner, inner_constants = problem.init(SEED)
    np.testing.assert_array_equal(batch, problem.sample(SEED, 1)[0])
    assert list(params) == [*inner, KEY]
    x = np.float32([0.0, 0.5, -0.5, 30.0, -30.0])
    loss, grads = loss_and_gradients(extended, params | {KEY: tf.constant(x)}, constants, batch)
    inner_loss, inner_grads = loss_and_gradients(problem, inner, inner_constants, batch)
    c, a = constants.term.scale["x"].numpy(), constants.term.inner.numpy()
    squares = (c * x - a) ** 2
    assert list(squares > 10) == [False, False, False, True, True]
    np.testing.assert_allclose(loss, inner_loss + np.minimum(squares, 10).mean(), rtol=1e-6)
    np.testing.assert_allclose(grads[KEY], np.where(squares > 10, 0, 2 * c * (c * x - a) / 5), rtol=1e-5)
    for key in inner:
        np.testing.assert_array_equal(params[key], inner[key])
        np.testing.assert_allclose(grads[key], inner_grads[key], rtol=1e-5, atol=1e-9)


def test_targets_and_scales_are_drawn_for_each_run():
    extended = convex_term(make_problem("simple"), num_dims=2_000)
    (params, constants), (_, others) = extended.init(SEED), extended.init(make_seed(12))
    assert not np.any(params[KEY])
    a, logs = constants.term.inner.numpy(), np.log(constants.term.scale["x"])
    for values in (a, logs):
        assert -1.0 <= values.min() < -0.99 and 0.99 < values.max() <= 1.0
        assert abs(values.mean()) < 0.05 and abs(values.std() - 3**-0.5) < 0.02
    assert abs(np.corrcoef(a, logs)[0, 1]) < 0.1
    assert not np.array_equal(a, others.term.inner)
    np.testing.assert_array_equal(a, extended.init(SEED)[1].term.inner)


def test_twenty_coordinates_and_a_bound_of_one_are_the_defaults():
    params, constants = convex_term(make_problem("simple")).init(SEED)
    assert params[KEY].shape == (20,)
    assert 0.5 < np.abs(np.log(constants.term.scale["x"])).max() <= 1.0


def test_whatever_measures_the_loss_has_the_term():
    problem = make_problem("digits")
    extended = convex_term(problem)
    params, constants = extended.init(SEED)
    expected, measured = problem.measure(*problem.init(SEED)), extended.measure(params, constants)
    term = np.mean(constants.term.inner**2)
    assert measured["accuracy"] == expected["accuracy"]
    np.testing.assert_allclose(measured["loss"], expected["loss"] + term, rtol=1e-6)
    np.testing.assert_allclose(objective_of(extended)(params, constants), measured["loss"], rtol=1e-6)
    assert extended.name == problem.name and extended.data == problem.data
    sampled = measured_on_minibatches(problem, 2)
    part, expected = (objective_of(each)(*each.init(SEED)) for each in (convex_term(sampled), sampled))
    np.testing.assert_allclose(part, expected + term, rtol=1e-6)
    assert convex_term(make_problem("simple")).measure is None


@pytest.mark.parametrize(
    ("options", "message"), [({"num_dims": 0}, "Received num_dims=0"), ({"bound": -1.0}, "Received bound=-1.0")]
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        convex_term(make_problem("simple"), **options)
