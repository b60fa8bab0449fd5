import math

import numpy as np
import pytest
import tensorflow as tf

from problems import make_problem
from problems.base import make_seed

SEED = make_seed(6)
RANGES = {"i": (0.5, 2.0), "x": (0.5, 27.0), "y": (0.5, 27.0), "z": (0.5, 27.0), "sxy": (2.0, 4.0), "sz": (2.0, 4.0)}


def volume(params, num_points, size):
    """One volume by loops over points and voxels, straight from the formula."""
    total = np.full([size] * 3, params["background"])
    for k in range(num_points):
        p = {key: low + (high - low) * params[f"point_{k}/{key}"] for key, (low, high) in RANGES.items()}
        for voxel in np.ndindex(size, size, size):
            light = p["i"] / 8
            for place, centre, width in zip(
                voxel, (p["x"], p["y"], p["z"]), (p["sxy"], p["sxy"], p["sz"]), strict=True
            ):
                upper, lower = ((place - centre + side) / (math.sqrt(2) * width) for side in (0.5, -0.5))
                light *= math.erf(upper) - math.erf(lower)
            total[voxel] += light
    return total


def test_the_loss_by_loops():
    problem = make_problem("confocal_microscopy_3d", batch_size=2, num_points=2, size=6)
    params, target = problem.init(SEED)
    expected = 0.0
    for b in range(2):
        one = {key: float(value[b, 0]) for key, value in params.items()}
        expected += ((volume(one, 2, 6) - target[b].numpy()) ** 2).sum() / 2
    np.testing.assert_allclose(problem.loss(params, target, tf.zeros([], tf.int32)), expected, rtol=1e-4)


def test_tensors_and_targets():
    problem = make_problem("confocal_microscopy_3d")
    params, target = problem.init(SEED)
    assert len(params) == 31
    assert sum(value.shape.num_elements() for value in params.values()) == 992
    assert target.shape == [32, 28, 28, 28]
    np.testing.assert_allclose(tf.reduce_sum(target**2, axis=(1, 2, 3)), np.ones(32), rtol=1e-4)
    places = np.concatenate([np.ravel(value) for key, value in params.items() if key != "background"])
    assert 0 <= places.min() < 0.01
    assert 0.99 < places.max() < 1
    assert 0.005 < np.std(params["background"]) < 0.02
    _, other = problem.init(make_seed(7))
    assert not np.array_equal(target, other)


def test_bad_sizes():
    with pytest.raises(ValueError, match="Received num_points=0"):
        make_problem("confocal_microscopy_3d", num_points=0)
