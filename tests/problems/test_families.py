import numpy as np
import pytest
import tensorflow as tf

from problems import PROBLEMS, make_problem
from problems.base import DataInfo, make_seed, objective_of
from problems.data.drawn import Rows
from problems.toys import classifiers, families, landscapes, matmul
from problems.transforms.coordinates import log_objective, rescale
from tests.problems.closed_forms import CLOSED_FORMS, MINIMA, slope, small
from tests.problems.gradients import loss_and_gradients

SEED = make_seed(5)


def float64(nest):
    return tf.nest.map_structure(lambda tensor: tensor.numpy().astype(np.float64), nest)


def close_to_its_largest(ours, theirs, tolerance, message=""):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max(), err_msg=message)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_value_and_slope_are_those_of_the_formula(name):
    problem, formula = small(name), CLOSED_FORMS[name][1]
    for k in range(2):
        params, constants = problem.init(make_seed(k))
        batch = problem.sample(SEED, 1)[0]
        loss, grads = loss_and_gradients(problem, params, constants, batch)
        exact, given = float64(params), float64(constants)
        if problem.measure is not None:
            np.testing.assert_allclose(objective_of(problem)(params, constants), formula(exact, given), rtol=1e-4)
            given = given[batch.numpy()]
        np.testing.assert_allclose(loss, formula(exact, given), rtol=2e-5, atol=1e-5)
        for key, expected in slope(formula, exact, given).items():
            close_to_its_largest(grads[key], expected, 1e-3, key)


def test_nothing_is_without_a_closed_form():
    modules = {module.__name__ for module in (families, matmul, landscapes)}
    factories = {factory for factory in PROBLEMS.values() if factory.__module__ in modules}
    assert {factory.__name__ for factory in factories} == set(CLOSED_FORMS)


@pytest.mark.parametrize("name", MINIMA)
def test_the_minimum_is_where_the_literature_has_it(name):
    place, value = MINIMA[name]
    loss, grads = loss_and_gradients(make_problem(name), {"x": tf.constant(place, tf.float32)}, (), 0)
    assert loss == pytest.approx(value, abs=2e-5)
    np.testing.assert_allclose(grads["x"], 0.0, atol=2e-3)


def test_strassen_needs_seven_products():
    """The factors of Strassen's algorithm reach zero; six of his seven products do not."""
    a = [[1, 0, 1, 0, 1, -1, 0], [0, 0, 0, 0, 1, 0, 1], [0, 1, 0, 0, 0, 1, 0], [1, 1, 0, 1, 0, 0, -1]]
    b = [[1, 1, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 1], [1, 0, -1, 0, 1, 0, 1]]
    strassen = {"theta_a": tf.constant(a, tf.float32), "theta_b": tf.constant(b, tf.float32)}
    assert matmul.matmul_algorithm(2, 7).loss(strassen, (), 0) < 1e-8
    assert matmul.matmul_algorithm(2, 6).loss({key: value[:, :6] for key, value in strassen.items()}, (), 0) > 0.1


@pytest.mark.parametrize("factor", [0.0, np.nan, np.inf])
def test_factors_without_an_inverse_give_a_loss_that_is_not_finite(factor):
    """And no error, which would end a meta-training in which one run diverges."""
    problem = matmul.matmul_algorithm()
    params = {name: factor * theta for name, theta in problem.init(SEED)[0].items()}
    loss, grads = loss_and_gradients(problem, params, (), 0)
    assert not np.isfinite(loss)
    assert not np.isfinite(grads["theta_a"]).any()


def test_the_inverse_has_the_derivatives_of_an_inverse():
    """The slopes of f do not tell: they do not depend on the best read-out. Second derivatives do."""
    rows, weights = (tf.constant(np.random.default_rng(k).normal(size=[9, 4])) for k in (0, 1))
    matrix, weights = tf.matmul(rows, rows, transpose_a=True), tf.matmul(weights, weights, transpose_a=True)

    def derivatives(inverse):
        with tf.GradientTape() as outer, tf.GradientTape() as inner:
            tf.nest.map_structure(lambda tape: tape.watch(matrix), [outer, inner])
            value = tf.reduce_sum(weights * inverse(matrix))
            slope = inner.gradient(value, matrix)
        return value, slope, outer.gradient(slope, matrix, weights)

    for ours, theirs in zip(derivatives(matmul._inverse), derivatives(tf.linalg.inv), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_starts():
    box = np.stack([landscapes.branin().init(make_seed(k))[0]["x"] for k in range(60)])
    assert (box.min(axis=0) > [-5, 0]).all() and (box.max(axis=0) < [10, 15]).all()
    assert (box.min(axis=0) < [-4, 1]).all() and (box.max(axis=0) > [9, 14]).all()
    normal, constants = families.least_squares(100).init(SEED)
    for drawn in (normal["x"], constants["w"], constants["y"]):
        assert abs(np.mean(drawn)) < 0.3 and 0.8 < np.std(drawn) < 1.2
    assert abs(np.corrcoef(normal["x"], constants["y"])[0, 1]) < 0.3
    for theta in matmul.matmul_algorithm(3, 19).init(SEED)[0].values():
        assert theta.shape == [9, 19]
        np.testing.assert_allclose(np.linalg.norm(theta, axis=0), 1.0, rtol=1e-5)


@pytest.mark.parametrize("make", [families.norm, families.outward_snake, families.sum_of_quadratics])
def test_an_instance_is_the_same_in_all_runs_and_the_start_is_not(make):
    def drawn(instance, seed):
        params, constants = make(num_dims=4, instance=instance).init(make_seed(seed))
        return params["x"].numpy(), tf.nest.flatten(constants)[0].numpy()

    (x, w), (other_x, same_w), (again_x, other_w) = drawn(7, 0), drawn(7, 1), drawn(8, 0)
    assert np.array_equal(w, same_w) and not np.array_equal(x, other_x)
    assert np.array_equal(x, again_x) and not np.array_equal(w, other_w)
    assert not np.array_equal(drawn(None, 0)[1], drawn(None, 1)[1])


def test_rows_are_bits_or_come_with_their_negatives():
    bits = families.outward_snake(5, 400, 10).init(SEED)[1].numpy()
    assert bits.shape == (400, 5) and set(np.unique(bits)) == {0, 1} and 0.4 < bits.mean() < 0.6
    rows = families.sum_of_quadratics(5, 400, 10).init(SEED)[1].numpy()
    assert rows.shape == (400, 5) and np.array_equal(rows[:200], -rows[200:]) and 0.9 < rows.std() < 1.1


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (families.least_squares, {"num_dims": 0}),
        (families.norm, {"power": 0.5}),
        (families.bowl, {"condition": 0.0}),
        (families.dependency_chain, {"num_dims": 0}),
        (families.sum_of_quadratics, {"num_rows": 7}),
        (families.outward_snake, {"batch_size": 0}),
        (matmul.matmul_algorithm, {"size": 2, "rank": 9}),
        (matmul.matmul_algorithm, {"size": 1, "rank": 1}),
    ],
)
def test_options_that_make_no_sense(make, options):
    name, value = list(options.items())[-1]
    with pytest.raises(ValueError, match=rf"Received .*{name}={value}.*, expected"):
        make(**options)


PLAIN = {
    "Rosenbrock": landscapes.rosenbrock,
    "Saddle": landscapes.saddle,
    "LogSumExp": landscapes.log_sum_exp,
    "Ackley": landscapes.ackley,
    "Beale": landscapes.beale,
    "StyblinskiTang": landscapes.styblinski_tang,
    "Matyas": landscapes.matyas,
    "Branin": landscapes.branin,
    "Quadratic7": lambda: families.least_squares(7),
    "Norm7_p1": lambda: families.norm(7, 1.0),
    "Norm7_p3": lambda: families.norm(7, 3.0),
    "Bowl5_pi4": lambda: families.bowl(5.0, np.pi / 4),
    "Rescale_Norm6_p2.5_s0.123": lambda: rescale(families.norm(6, 2.5), 0.123),
    "LogObjective_Quadratic6": lambda: log_objective(families.least_squares(6)),
    "DependencyChain6": lambda: families.dependency_chain(6),
    "MinMaxWell6": lambda: families.min_max_well(6),
    "ProjectionQuadratic6": lambda: families.projection_quadratic(6, 8, 8),
    "SumOfQuadratics6": lambda: families.sum_of_quadratics(6, 8, 8),
    "MatMul_2_7": lambda: matmul.matmul_algorithm(2, 7),
}
CLASSIFIERS = {  # and what draws the data, which are the recorded ones here
    "SoftmaxRegression_10_2": ("clusters", lambda: classifiers.softmax_regression(10)),
    "SparseSoftmax_5_2": ("noisy_parity", classifiers.sparse_softmax_regression),
    "SparseSoftmax_5_2 (one hot)": ("noisy_parity", classifiers.one_hot_sparse_softmax_regression),
    "FullyConnected_8_2_h8_5_sigmoid": ("random_mlp", lambda: classifiers.fully_connected(8, (8, 5))),
}


@pytest.fixture(scope="module")
def recorded(recordings):
    return recordings("l2o_scale_problems_golden")


def check_against_the_record(problem, constants, batch, prefix, recorded):
    template = problem.init(SEED)[0]
    points = {key.split("/")[1] for key in recorded if key.startswith(f"{prefix}/pt")}
    assert len(points) >= 2
    for point in points:
        at = f"{prefix}/{point}"
        params = {
            key: tf.reshape(recorded[f"{at}/x/{i}"].astype(np.float32), value.shape)
            for i, (key, value) in enumerate(template.items())
        }
        loss, grads = loss_and_gradients(problem, params, constants, batch)
        np.testing.assert_allclose(loss, recorded[f"{at}/f"], rtol=5e-6, atol=1e-6)
        np.testing.assert_allclose(objective_of(problem)(params, constants), recorded[f"{at}/f"], rtol=5e-6, atol=1e-6)
        for i, key in enumerate(template):
            close_to_its_largest(grads[key], recorded[f"{at}/grad/{i}"].reshape(grads[key].shape), 5e-5, at)


@pytest.mark.parametrize("prefix", PLAIN)
def test_the_original_program_agrees(prefix, recorded):
    constants, batch = (), 0
    if f"{prefix}/const/w" in recorded:
        constants = {"w": tf.constant(recorded[f"{prefix}/const/w"]), "y": recorded[f"{prefix}/const/y"].ravel()}
    if f"{prefix}/data" in recorded:
        constants, batch = tf.constant(recorded[f"{prefix}/data"]), tf.range(8)
    check_against_the_record(PLAIN[prefix](), constants, batch, prefix, recorded)


@pytest.mark.parametrize("case", CLASSIFIERS)
def test_the_original_classifiers_agree(case, recorded, monkeypatch):
    drawn_by, make = CLASSIFIERS[case]
    prefix = case.split(" ")[0]
    data, labels = recorded[f"{prefix}/data"], recorded[f"{prefix}/labels"]
    rows = Rows(tf.constant(data), tf.constant(labels), DataInfo("recorded", "train", len(labels), ""))
    monkeypatch.setattr(classifiers, drawn_by, lambda *arguments: rows)
    check_against_the_record(make(), (), tf.range(len(labels)), prefix, recorded)
