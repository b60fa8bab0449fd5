"""What a run is judged by."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.unrolling.objectives import OBJECTIVES

WEIGHTS = {
    "sum": [1.0, 1.0, 1.0, 1.0],
    "mean": [0.25, 0.25, 0.25, 0.25],
    "final": [0.0, 0.0, 0.0, 1.0],
    "penultimate": [0.0, 0.0, 1.0, 0.0],
}


RATIOS = {  # (losses, first) -> value
    "log_mean": lambda f, first: np.log(np.mean(f)),
    "log_ratio": lambda f, first: np.mean(np.log(f / first)),
    "log_ratio_numerator": lambda f, first: np.mean(np.log(f / first)),
    "log_ratio_original": lambda f, first: np.mean(np.log(f[[0, 0, 1, 2]] / first)),
    "ratio_original": lambda f, first: np.mean(f[:-1]) / first,
}


def test_every_objective_is_tested():
    assert WEIGHTS.keys() | RATIOS.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize("name", WEIGHTS)
def test_value_and_slope(name):
    losses = tf.constant([8.0, 4.0, 2.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = OBJECTIVES[name](losses, tf.constant(16.0))
    np.testing.assert_allclose(value, np.dot(WEIGHTS[name], losses), rtol=1e-6)
    np.testing.assert_allclose(tf.convert_to_tensor(tape.gradient(value, losses)), WEIGHTS[name])
    assert OBJECTIVES[name](losses) == value


@pytest.mark.parametrize("first", [None, 16.0])
@pytest.mark.parametrize("name", RATIOS)
def test_ratio(name, first):
    """Value against NumPy, slope against its finite differences; the loss at the start of the run is a constant."""
    losses, f = tf.constant([8.0, 4.0, 2.0, 1.0]), np.array([8.0, 4.0, 2.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = OBJECTIVES[name](losses) if first is None else OBJECTIVES[name](losses, tf.constant(first))
    start = first or 8.0
    np.testing.assert_allclose(value, RATIOS[name](f, start), rtol=1e-5)
    steps = 1e-4 * np.eye(4)
    slope = [(RATIOS[name](f + step, start) - RATIOS[name](f - step, start)) / 2e-4 for step in steps]
    np.testing.assert_allclose(tf.convert_to_tensor(tape.gradient(value, losses)), slope, rtol=1e-4, atol=1e-6)


def test_where_epsilon_is():
    """At a loss of 0 the ratio counts as ε, or the loss, or its mean."""
    losses = tf.constant([0.0, 0.0])
    np.testing.assert_allclose(OBJECTIVES["log_mean"](losses), np.log(1e-6), rtol=1e-5)
    np.testing.assert_allclose(OBJECTIVES["log_ratio"](losses, tf.constant(4.0)), np.log(1e-6), rtol=1e-5)
    np.testing.assert_allclose(OBJECTIVES["log_ratio_numerator"](losses, tf.constant(4.0)), np.log(1e-6 / 4), rtol=1e-5)
