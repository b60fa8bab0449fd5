import numpy as np
import pytest
import tensorflow as tf

from problems import ensemble, make_problem
from problems.base import make_seed, objective_of
from problems.toys import deepmind
from tests.problems.gradients import loss_and_gradients

SEED = make_seed(3)


def test_simple_is_the_square_from_one():
    problem = deepmind.simple()
    params, constants = problem.init(SEED)
    assert list(params) == ["x"] and params["x"].shape == [] and params["x"].numpy() == 1.0
    loss, gradients = loss_and_gradients(problem, {"x": tf.constant(-3.0)}, constants, 0)
    assert loss == 9.0 and gradients["x"] == -6.0


def test_simple_multi_optimizer_is_the_sum_of_squares_of_named_scalars():
    problem = deepmind.simple_multi_optimizer(num_dims=3)
    params, constants = problem.init(SEED)
    assert list(params) == ["x_0", "x_1", "x_2"]
    assert all(x.shape == [] and x.numpy() == 1.0 for x in params.values())
    loss, gradients = loss_and_gradients(
        problem, {"x_0": tf.constant(1.0), "x_1": tf.constant(2.0), "x_2": tf.constant(-4.0)}, constants, 0
    )
    assert loss == 21.0 and gradients == {"x_0": 2.0, "x_1": 4.0, "x_2": -8.0}
    assert len(deepmind.simple_multi_optimizer().init(SEED)[0]) == 2  # DeepMind's default


def test_quadratic_against_its_closed_form():
    problem = deepmind.quadratic(batch_size=6, num_dims=4, stddev=0.5, dtype=tf.float64)
    params, constants = problem.init(SEED)
    x, w, y = params["x"].numpy(), constants["w"].numpy(), constants["y"].numpy()
    residual = np.einsum("bij,bj->bi", w, x) - y
    loss, gradients = loss_and_gradients(problem, params, constants, 0)
    np.testing.assert_allclose(loss, (residual**2).sum() / 6, rtol=1e-12)
    np.testing.assert_allclose(gradients["x"], 2 / 6 * np.einsum("bij,bi->bj", w, residual), rtol=1e-12)


def test_quadratic_draws_as_it_says():
    problem = deepmind.quadratic()
    params, constants = problem.init(SEED)
    x, w, y = params["x"].numpy(), constants["w"].numpy(), constants["y"].numpy()
    assert (x.shape, w.shape, y.shape) == ((128, 10), (128, 10, 10), (128, 10)) and x.dtype == np.float32
    assert abs(x.mean()) < 0.002 and 0.009 < x.std() < 0.011
    for uniform in (w, y):
        assert 0 <= uniform.min() < 0.01 and 0.99 < uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.03
    for other in (w.ravel()[: y.size], x.ravel()):  # each has draws of its own
        assert abs(np.corrcoef(other, y.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("name", ["simple", "simple_multi_optimizer", "quadratic"])
def test_there_is_no_minibatch_and_no_data(name):
    problem = make_problem(name, mode="test", data="tfds", split="test")  # no notice is taken of these
    assert problem.name == name and problem.data is None and problem.measure is None
    batches = problem.sample(SEED, 7)
    assert batches.shape == [7] and batches.dtype == tf.int32


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("simple_multi_optimizer", {"num_dims": 0}),
        ("quadratic", {"batch_size": 0}),
        ("quadratic", {"num_dims": -1}),
        ("quadratic", {"stddev": -0.1}),
    ],
)
def test_sizes_that_make_no_sense(name, options):
    (option, value) = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"Received {option}={value}, expected"):
        make_problem(name, **options)


def test_square_cos_against_loops():
    problem = make_problem("square_cos", batch_size=3, num_dims=2)
    params, constants = problem.init(make_seed(4))
    x = params["x"].numpy().astype(np.float64) + 0.3
    w, c, y = (constants[key].numpy().astype(np.float64) for key in ("w", "c", "y"))
    total = 0.0
    for b in range(3):
        total += sum((w[b] @ x[b] - y[b]) ** 2) - sum(c[b] @ (10 * np.cos(2 * np.pi * x[b]))) + 20
    loss = problem.loss({"x": tf.constant(x, tf.float32)}, constants, tf.zeros([], tf.int32))
    np.testing.assert_allclose(loss, total / 3, rtol=1e-5)
    assert all(value.min() >= 0 and value.max() < 1 and value.std() > 0.1 for value in (w, c, y))
    assert not np.array_equal(w, c)


def test_an_ensemble_is_a_weighted_sum():
    parts = [{"name": "simple", "options": {}}, {"name": "quadratic", "options": {"batch_size": 4}}]
    problem, seed = ensemble(parts, weights=[1.0, 0.25]), make_seed(2)
    params, constants = problem.init(seed)
    assert (problem.name, list(params)) == ("ensemble", ["0/x", "1/x"])
    quadratic = make_problem("quadratic", batch_size=4)
    batch = tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(seed, 1))
    expected = 1.0 + 0.25 * quadratic.loss({"x": params["1/x"]}, constants[1], batch)
    np.testing.assert_allclose(problem.loss(params, constants, batch), expected, rtol=1e-6)
    np.testing.assert_allclose(objective_of(problem)(params, constants), expected, rtol=1e-6)


def test_an_ensemble_refuses_what_it_cannot_add():
    with pytest.raises(ValueError, match="Received 1 weights for 2 problems"):
        ensemble([{"name": "simple"}, {"name": "simple"}], weights=[1.0])
    with pytest.raises(ValueError, match="Received no problem"):
        ensemble([])
    with pytest.raises(ValueError, match="Received problem 'simpel'.*did you mean"):
        ensemble([{"name": "simpel"}])
    with pytest.raises(ValueError, match="'option': .* expected a dict of 'name' and perhaps 'options'"):
        ensemble([{"name": "quadratic", "option": {"batch_size": 3}}])
    with pytest.raises(ValueError, match="expected a dict of 'name'"):
        ensemble([{"options": {}}])
