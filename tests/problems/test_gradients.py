import numpy as np
import pytest
import tensorflow as tf

from problems import make_problem
from problems.base import make_seed, objective_of
from problems.toys import families
from problems.transforms.coordinates import random_scaling, sum_of
from problems.transforms.gradients import gradient_noise, sparse_gradient

SEED = make_seed(17)


def step(batches, t):
    return tf.nest.map_structure(lambda leaf: leaf[t], batches)


def derivatives(problem, params, constants, batch):
    """Loss, gradient `[N]` and the derivative `[N, N]` of the gradient, of a problem of one vector."""
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(params)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, constants, batch)
        gradient = tape.gradient(loss, params)["x"]
    return loss, gradient, outer.jacobian(gradient, params, experimental_use_pfor=False)["x"]


def test_noise_is_added_to_the_gradient_and_to_nothing_else():
    plain = families.least_squares(6)
    noisy = gradient_noise(plain, 0.5)
    params, constants = noisy.init(SEED)
    batches = noisy.sample(SEED, 3)
    loss, gradient, curvature = derivatives(plain, params, constants, batches.inner[1])
    noisy_loss, noisy_gradient, noisy_curvature = derivatives(noisy, params, constants, step(batches, 1))
    assert noisy_loss == loss
    assert np.abs(noisy_gradient - gradient).min() > 0
    np.testing.assert_allclose(noisy_gradient, gradient + batches.change["x"][1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(noisy_curvature, curvature, rtol=1e-6)


def test_gaps_are_in_the_gradient_and_in_nothing_else():
    plain = families.least_squares(6)
    sparse = sparse_gradient(plain, 0.5)
    params, constants = sparse.init(SEED)
    batches = sparse.sample(SEED, 3)
    mask = batches.change["x"][0].numpy()
    assert set(mask) == {0.0, 1.0}
    loss, gradient, curvature = derivatives(plain, params, constants, 0)
    sparse_loss, sparse_gradients, sparse_curvature = derivatives(sparse, params, constants, step(batches, 0))
    assert sparse_loss == loss
    np.testing.assert_allclose(sparse_gradients, mask * gradient, rtol=1e-6)
    np.testing.assert_allclose(sparse_curvature, mask[:, None] * curvature, rtol=1e-5)


@pytest.mark.parametrize("transform", [gradient_noise, sparse_gradient])
def test_the_compiled_loss_is_the_same(transform):
    problem = transform(make_problem("fully_connected"), 0.3)
    params, constants = problem.init(SEED)
    batch = step(problem.sample(SEED, 1), 0)

    def meta(rate):  # differentiates a step of gradient descent, as meta-training does
        with tf.GradientTape() as outer:
            outer.watch(rate)
            with tf.GradientTape() as tape:
                tape.watch(params)
                loss = problem.loss(params, constants, batch)
            grads = tape.gradient(loss, params)
            moved = {key: value - rate * grads[key] for key, value in params.items()}
            end = problem.loss(moved, constants, batch)
        return end, outer.gradient(end, rate)

    eager = meta(tf.constant(0.1))
    compiled = tf.function(meta, jit_compile=True, autograph=False)(tf.constant(0.1))
    np.testing.assert_allclose(compiled, eager, rtol=1e-4)
    assert eager[1] != 0


@pytest.mark.parametrize("transform", [gradient_noise, sparse_gradient])
@pytest.mark.parametrize("name", ["rosenbrock", "sum_of_quadratics", "fully_connected"])
def test_the_objective_is_that_of_the_problem_inside(transform, name):
    plain = make_problem(name)
    changed = transform(plain, 0.9)
    params, constants = changed.init(SEED)
    slopes = []
    for problem in (plain, changed):
        with tf.GradientTape() as tape:
            tape.watch(params)
            value = objective_of(problem)(params, constants)
        slopes.append((value, tape.gradient(value, params)))
    tf.nest.map_structure(np.testing.assert_array_equal, *slopes)
    assert (changed.name, changed.data) == (plain.name, plain.data)
    tf.nest.map_structure(np.testing.assert_array_equal, plain.init(SEED), changed.init(SEED))
    np.testing.assert_array_equal(changed.sample(SEED, 3).inner, plain.sample(SEED, 3))


def test_second_derivatives_of_a_loop():
    """Of all losses on the way, of a problem with data, which the gradient of a loop must not capture by itself."""
    problem = sparse_gradient(make_problem("fully_connected"), 0.3)
    params, constants = problem.init(SEED)
    batches = problem.sample(SEED, 3)

    def losses(rate):
        def move(t, params, total):
            with tf.GradientTape() as tape:
                tape.watch(params)
                loss = problem.loss(params, constants, step(batches, t))
            grads = tape.gradient(loss, params)
            return t + 1, {key: value - rate * grads[key] for key, value in params.items()}, total + loss

        with tf.GradientTape() as outer:
            outer.watch(rate)
            *_, total = tf.while_loop(lambda t, *_: t < 3, move, (0, params, 0.0))
        return total, outer.gradient(total, rate)

    compiled = tf.function(losses, autograph=False)
    np.testing.assert_allclose(compiled(tf.constant(0.1)), losses(tf.constant(0.1)), rtol=1e-4)


def test_what_is_drawn():
    noise = gradient_noise(families.least_squares(50), 2.0).sample(SEED, 400).change["x"].numpy()
    assert noise.shape == (400, 50) and abs(noise.mean()) < 0.05 and abs(noise.std() - 2.0) < 0.05
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.03  # new in each step
    mask = sparse_gradient(families.least_squares(50)).sample(SEED, 400).change["x"].numpy()
    assert 0.005 < mask.mean() < 0.015
    problem = gradient_noise(make_problem("fully_connected"), 1.0)
    one, again, other = (problem.sample(make_seed(k), 5).change["layer_0/w"].numpy() for k in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert not np.array_equal(*(problem.sample(SEED, 5).change[key][:, :2] for key in ("layer_2/b", "layer_1/b")))


def test_transforms_go_around_each_other():
    noisy = gradient_noise(sparse_gradient(sum_of([make_problem("booth"), make_problem("bowl")]), 1.0), 0.5)
    params, constants = noisy.init(SEED)
    batch = step(noisy.sample(SEED, 2), 1)
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = noisy.loss(params, constants, batch)
    for key, gradient in tape.gradient(loss, params).items():  # nothing but noise is left
        np.testing.assert_allclose(gradient, batch.change[key], rtol=1e-6)
    scaled = random_scaling(gradient_noise(make_problem("booth"), 1.0))
    start, constants = scaled.init(SEED)
    np.testing.assert_allclose(
        objective_of(scaled)(start, constants),
        make_problem("booth").loss(*make_problem("booth").init(SEED), 0),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("transform", "value"), [(gradient_noise, -1.0), (gradient_noise, float("nan")), (sparse_gradient, 1.5)]
)
def test_bad_options(transform, value):
    with pytest.raises(ValueError, match=f"Received .*={value}, expected"):
        transform(make_problem("booth"), value)
