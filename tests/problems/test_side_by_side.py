"""Several optimizees as one."""

import numpy as np
import pytest
import tensorflow as tf

from problems import make_problem
from problems.base import make_seed, objective_of
from problems.transforms.side_by_side import side_by_side, split


@pytest.mark.parametrize("name", ["quadratic", "digits"])
def test_the_objective_of_each(name):
    """With minibatches and without."""
    problem = make_problem(name)
    many, seeds = side_by_side(problem, 2), split(make_seed(3), 2)
    values = objective_of(many)(*many.init(seeds))
    singly = [objective_of(problem)(*problem.init(seed)) for seed in tf.unstack(seeds)]
    np.testing.assert_allclose(values, singly, rtol=1e-6)
    assert len(set(values.numpy())) == 2
