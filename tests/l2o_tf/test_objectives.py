"""What a run is judged by."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.objectives import OBJECTIVES

WEIGHTS = {"sum": [1.0, 1.0, 1.0, 1.0], "mean": [0.25, 0.25, 0.25, 0.25], "final": [0.0, 0.0, 0.0, 1.0]}


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
