import numpy as np
import pytest
import tensorflow as tf

from problems import make_problem
from problems.base import make_seed, objective_of
from problems.transforms.coordinates import (
    log_objective,
    measured_on,
    measured_on_minibatches,
    normal_start,
    random_scaling,
    rescale,
    sum_of,
)
from problems.transforms.gradients import gradient_noise, sparse_gradient
from tests.problems.gradients import loss_and_gradients

SEED = make_seed(11)


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
    measured = scaled.measure(*scaled.init(SEED))
    expected = problem.measure(*problem.init(SEED))
    np.testing.assert_allclose(measured["loss"], expected["loss"], rtol=1e-6)
    assert scaled.name == problem.name and scaled.data == problem.data
    assert random_scaling(make_problem("simple")).measure is None


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


def test_rescale_is_the_same_function_on_another_scale():
    plain = make_problem("least_squares")
    scaled = rescale(plain, 8.0)
    params, constants = plain.init(SEED)
    start, scaled_constants = scaled.init(SEED)
    np.testing.assert_allclose(start["x"], 8 * params["x"])
    loss, gradients = loss_and_gradients(plain, params, constants, 0)
    scaled_loss, scaled_gradients = loss_and_gradients(scaled, start, scaled_constants, 0)
    np.testing.assert_allclose(scaled_loss, loss, rtol=1e-6)
    np.testing.assert_allclose(scaled_gradients["x"], gradients["x"] / 8, rtol=1e-5)


def test_the_logarithm_of_the_loss():
    plain = make_problem("booth")
    logarithm = log_objective(plain, epsilon=0.5)
    params, constants = plain.init(SEED)
    loss, gradients = loss_and_gradients(plain, params, constants, 0)
    log_loss, log_gradients = loss_and_gradients(logarithm, params, constants, 0)
    np.testing.assert_allclose(log_loss, np.log((loss + 0.5) / 0.5), rtol=1e-6)
    np.testing.assert_allclose(log_gradients["x"], gradients["x"] / (loss + 0.5), rtol=1e-5)
    assert logarithm.loss({"x": tf.constant([1.0, 3.0])}, (), 0) == 0
    classifier = make_problem("digits")
    plain_loss, log_loss = (p.measure(*p.init(SEED))["loss"] for p in (classifier, log_objective(classifier, 0.5)))
    np.testing.assert_allclose(log_loss, np.log(plain_loss / 0.5 + 1), rtol=1e-6)


def test_another_start_with_the_same_constants():
    plain = make_problem("least_squares", num_dims=200)
    moved = normal_start(plain, 3.0)
    (x, constants), (moved_x, moved_constants) = plain.init(SEED), moved.init(SEED)
    assert 2.5 < np.std(moved_x["x"]) < 3.5 and abs(np.corrcoef(x["x"], moved_x["x"])[0, 1]) < 0.3
    np.testing.assert_array_equal(constants["w"], moved_constants["w"])


def test_a_sum_is_the_sum_of_its_problems():
    parts = [make_problem(name) for name in ("least_squares", "sum_of_quadratics", "booth")]
    whole = sum_of(parts)
    params, constants = whole.init(SEED)
    batches = whole.sample(SEED, 2)
    assert list(params) == ["0/x", "1/x", "2/x"]
    loss, gradients = loss_and_gradients(whole, params, constants, tf.nest.map_structure(lambda leaf: leaf[1], batches))
    each = [
        loss_and_gradients(part, {"x": params[f"{k}/x"]}, constants[k], batches[k][1]) for k, part in enumerate(parts)
    ]
    np.testing.assert_allclose(loss, sum(value for value, _ in each), rtol=1e-6)
    for k, (_, gradient) in enumerate(each):
        np.testing.assert_allclose(gradients[f"{k}/x"], gradient["x"], rtol=1e-6)
    total = sum(objective_of(part)({"x": params[f"{k}/x"]}, constants[k]).numpy() for k, part in enumerate(parts))
    np.testing.assert_allclose(objective_of(whole)(params, constants), total, rtol=1e-6)
    with pytest.raises(ValueError, match="Received digits, expected problems without data"):
        sum_of([parts[0], make_problem("digits")])


def test_xla_compiles_a_sum_if_it_compiles_all_parts():
    one, other = make_problem("booth"), make_problem("least_squares")._replace(xla=False)
    assert [sum_of(parts).xla for parts in ([one, one], [one, other], [other, one])] == [True, False, False]


def test_whoever_measures_the_whole_sees_the_transform():
    plain = make_problem("sum_of_quadratics")
    scaled = random_scaling(plain)
    (params, constants), (start, scaled_constants) = plain.init(SEED), scaled.init(SEED)
    expected = objective_of(plain)(params, constants)
    np.testing.assert_allclose(objective_of(scaled)(start, scaled_constants), expected, rtol=1e-4)


def test_the_objective_of_problems_that_say_nothing_of_it():
    simple, digits = make_problem("simple"), make_problem("digits")
    assert objective_of(simple)({"x": tf.constant(3.0)}, ()) == 9
    start = digits.init(SEED)
    assert objective_of(digits)(*start) == digits.measure(*start)["loss"]
    with pytest.raises(ValueError, match="Received problem 'digits' with minibatches and without a measure"):
        objective_of(digits._replace(measure=None))


@pytest.mark.parametrize(
    ("transform", "value"), [(rescale, 0.0), (rescale, float("inf")), (log_objective, 0.0), (normal_start, -1.0)]
)
def test_bad_options(transform, value):
    with pytest.raises(ValueError, match=f"Received .*={value}, expected"):
        transform(make_problem("simple"), value)


class TestAPartOfTheData:
    def test_is_the_mean_loss_of_fixed_minibatches(self):
        """In every run the same; of many it is close to that of all data."""
        problem = make_problem("digits", batch_size=16)
        params, constants = problem.init(SEED)
        losses = [float(objective_of(measured_on_minibatches(problem, n))(params, constants)) for n in (1, 1, 2, 400)]
        assert losses[0] == losses[1] != losses[2]
        assert losses[3] == pytest.approx(float(problem.measure(params, constants)["loss"]), rel=2e-3)
        silent = problem._replace(measure=None)
        assert objective_of(measured_on_minibatches(silent, 1))(params, constants) == losses[0]

    def test_follows_other_coordinates(self):
        problem = measured_on_minibatches(make_problem("digits", batch_size=16), 2)
        found, expected = (objective_of(p)(*p.init(SEED)) for p in (random_scaling(problem), problem))
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    @pytest.mark.parametrize("around", [lambda problem: problem, lambda problem: gradient_noise(problem, 0.5)])
    def test_without_minibatches_it_is_the_whole(self, around):
        parts = [make_problem("quadratic"), make_problem("simple")]
        for problem in (around(parts[0]), around(sum_of(parts)), sum_of([around(part) for part in parts])):
            params, constants = problem.init(SEED)
            found = objective_of(measured_on_minibatches(problem, 3))(params, constants)
            np.testing.assert_array_equal(found, objective_of(problem)(params, constants))

    @pytest.mark.parametrize("transform", [gradient_noise, sparse_gradient])
    def test_slopes_are_those_of_the_problem_inside(self, transform):
        problem = make_problem("digits", batch_size=16)
        params, constants = problem.init(SEED)
        slopes = []
        inside = transform(measured_on_minibatches(problem, 2), 0.5)
        for each in (problem, transform(problem, 0.5), inside):
            with tf.GradientTape() as tape:
                tape.watch(params)
                judge = objective_of(each if each is inside else measured_on_minibatches(each, 2))
                value = judge(params, constants)
            slopes.append(tape.gradient(value, params))
        for other in slopes[1:]:
            tf.nest.map_structure(np.testing.assert_array_equal, slopes[0], other)

    def test_none_is_refused(self):
        with pytest.raises(ValueError, match="Received count=0, expected a positive"):
            measured_on_minibatches(make_problem("digits"), 0)


class TestMeasuredOn:
    def test_runs_are_those_of_the_one_and_the_measure_that_of_the_other(self):
        train, test = make_problem("digits"), make_problem("digits", split="test")
        both = measured_on(train, test)
        params, constants = both.init(SEED)
        assert both.loss is train.loss and both.sample is train.sample
        assert objective_of(both)(params, constants) == objective_of(test)(params, constants)
        scaled = random_scaling(both)
        np.testing.assert_allclose(
            objective_of(scaled)(*scaled.init(SEED)), objective_of(test)(params, constants), 1e-6
        )

    def test_other_parameters_are_refused(self):
        with pytest.raises(ValueError, match="Received 'digits' with parameters .*, expected those of 'digits'"):
            measured_on(make_problem("digits"), make_problem("digits", layers=(5,)))
