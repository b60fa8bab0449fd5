from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from problems import PROBLEM_SETS, PROBLEMS, DataOptions, make_problem
from problems.base import make_seed, objective_of
from problems.sets import draw
from problems.transforms.coordinates import measured_on_minibatches
from tests.problems.gradients import loss_and_gradients

SEED = make_seed(2)

SIZES = {  # counted in the original program
    "noisy_quadratic_problems": 4,
    "large_quadratic_problems": 3,
    "bowl_problems": 4,
    "noisy_bowl_problems": 4,
    "softmax_2_class_problems": 4,
    "noisy_softmax_2_class_problems": 4,
    "optimization_test_problems": 9,
    "noisy_optimization_test_problems": 9,
    "fully_connected_random_2_class_problems": 12,
    "matmul_problems": 10,
    "log_objective_problems": 6,
    "rescale_problems": 9,
    "norm_problems": 3,
    "noisy_norm_problems": 3,
    "sum_problems": 6,
    "noisy_sum_problems": 2,
    "sparse_gradient_problems": 6,
    "sparse_gradient_mlp_problems": 3,
}


def test_the_ensemble_is_the_original_one():
    assert {name: len(PROBLEM_SETS[name]) for name in SIZES} == SIZES
    whole = PROBLEM_SETS["scale_meta"]
    assert len(whole) == 101
    assert list(map(str, whole)) == [str(member) for name in SIZES for member in PROBLEM_SETS[name]]
    twice = {name for name, count in Counter(map(str, whole)).items() if count > 1}
    assert twice == {str(member) for member in PROBLEM_SETS["noisy_sum_problems"]}
    assert not set(PROBLEM_SETS) & set(PROBLEMS)


@pytest.mark.parametrize(
    ("name", "index", "description"),
    [
        ("noisy_quadratic_problems", 0, "least_squares(num_dims=20) gradient_noise(stddev=0.5)"),
        ("noisy_quadratic_problems", 1, "least_squares(num_dims=25)"),
        ("noisy_bowl_problems", 3, "bowl(condition=5, angle=0.785398) gradient_noise(stddev=0.1)"),
        ("matmul_problems", 9, "matmul_algorithm(size=3, rank=24)"),
        ("rescale_problems", 0, "norm(num_dims=18, power=2.5) rescale(scale=0.123)"),
        ("rescale_problems", 8, "least_squares(num_dims=100) rescale(scale=132)"),
        ("log_objective_problems", 1, "least_squares(num_dims=50) log_objective()"),
        (
            "sparse_gradient_mlp_problems",
            2,
            "fully_connected(num_features=5, layers=(4, 4, 4, 4), batch_size=100, l2=0.001) normal_start() "
            "sparse_gradient()",
        ),
        (
            "sum_problems",
            1,
            "sum_of_members(members=(norm(num_dims=18, power=3), least_squares(num_dims=25), rosenbrock()))",
        ),
        ("outward_snake_problems", 4, "outward_snake(num_dims=13, num_rows=10000, batch_size=50)"),
    ],
)
def test_members_say_what_they_are(name, index, description):
    assert str(PROBLEM_SETS[name][index]) == description


@pytest.mark.parametrize("name", [name for name in PROBLEM_SETS if name not in ("scale_meta", "mnist_mlp_problems")])
def test_every_member_can_be_optimized(name):
    for member in PROBLEM_SETS[name]:
        problem = member.make()
        assert problem.name == str(member)
        params, constants = problem.init(SEED)
        batch = tf.nest.map_structure(lambda leaf: leaf[0], problem.sample(SEED, 1))
        loss, grads = loss_and_gradients(problem, params, constants, batch)
        assert np.isfinite(loss) and all(np.isfinite(grad).all() for grad in grads.values())
        whole = objective_of(problem)(params, constants)
        assert np.isfinite(whole)
        if name != "log_objective_problems":
            assert whole >= 0, "L2O-Scale takes its logarithm"


def test_a_sum_has_all_its_parts():
    problem = PROBLEM_SETS["sum_problems"][3].make()
    assert sum(value.shape.num_elements() for value in problem.init(SEED)[0].values()) == 9 * 2 + 5 + 13


def test_draws_are_uniform_and_repeatable():
    members = PROBLEM_SETS["bowl_problems"]
    drawn = [draw(members, make_seed(k)) for k in range(100)]
    assert drawn[:5] == [draw(members, make_seed(k)) for k in range(5)]
    assert sorted(set(drawn)) == [0, 1, 2, 3] and min(np.bincount(drawn)) > 12


def test_a_member_with_loaded_data_takes_their_options():
    (member,) = PROBLEM_SETS["mnist_mlp_problems"]
    problem = member.make(mode="test", data_options=DataOptions("embedded"))
    assert (problem.name, problem.data.name, problem.data.split) == ("mnist()", "digits-28x28", "test")


def test_a_member_is_measured_on_minibatches_without_the_gaps_in_its_gradients():
    member = PROBLEM_SETS["scale_meta"][100]
    assert str(member).endswith("sparse_gradient()")
    problem, plain = member.make(), member._replace(around=()).make()
    params, constants = problem.init(SEED)
    found, expected = (objective_of(measured_on_minibatches(p, 2))(params, constants) for p in (problem, plain))
    assert found == expected


def test_a_set_is_not_a_problem():
    with pytest.raises(ValueError, match="'scale_meta', which is a set of 101, expected the name of one problem"):
        make_problem("scale_meta")
