"""What a run is judged by."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.objectives import OBJECTIVES, mean_log_ratio, mean_log_ratio_original

WEIGHTS = {
    "sum": [1.0, 1.0, 1.0, 1.0],
    "mean": [0.25, 0.25, 0.25, 0.25],
    "final": [0.0, 0.0, 0.0, 1.0],
    "penultimate": [0.0, 0.0, 1.0, 0.0],
}


def test_every_objective_is_tested():
    assert WEIGHTS.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize("name", WEIGHTS)
def test_value_and_slope(name):
    losses = tf.constant([8.0, 4.0, 2.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = OBJECTIVES[name](losses)
    np.testing.assert_allclose(value, np.dot(WEIGHTS[name], losses), rtol=1e-6)
    np.testing.assert_allclose(tf.convert_to_tensor(tape.gradient(value, losses)), WEIGHTS[name])


@pytest.mark.parametrize("initial", [None, 16.0])
@pytest.mark.parametrize(
    ("objective", "points"), [(mean_log_ratio, [0, 1, 2, 3]), (mean_log_ratio_original, [0, 0, 1, 2])]
)
def test_mean_log_ratio(objective, points, initial):
    losses = tf.constant([8.0, 4.0, 2.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = objective(losses) if initial is None else objective(losses, tf.constant(initial))
    np.testing.assert_allclose(value, np.mean(np.log(losses.numpy()[points] / (initial or 8.0))), rtol=1e-5)
    slope = sum(np.eye(4)[point] / losses.numpy()[point] / 4 for point in points)
    np.testing.assert_allclose(tape.gradient(value, losses), slope, rtol=1e-4, atol=1e-6)
