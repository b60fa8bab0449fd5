"""What convolutional networks are made of."""

import numpy as np
import pytest
import tensorflow as tf

from problems.images.layers import BATCH_NORM_EPSILON, batch_norm

SHAPES = ([5, 7, 7, 8], [5, 7, 7, 6], [40, 12])


def formula(hidden, beta):
    axes = list(range(len(hidden.shape) - 1))
    mean = tf.reduce_mean(hidden, axes)
    variance = tf.reduce_mean((hidden - mean) ** 2, axes)
    return (hidden - mean) / tf.sqrt(variance + BATCH_NORM_EPSILON) + beta


def derivatives(function, dtype, shape):
    """Value, gradient and the gradient of the gradient's component in a direction, of a weighted sum of squares.

    A direction that moves the mean, too: that is what the second derivatives of `tf.nn.moments` get wrong.
    """
    generator = np.random.default_rng(2)
    hidden, weights, direction = (tf.constant(generator.normal(0.5, 0.1, shape), dtype) for _ in range(3))
    beta = tf.constant(generator.normal(size=shape[-1]), dtype)
    with tf.GradientTape() as outer:
        outer.watch(hidden)
        with tf.GradientTape() as inner:
            inner.watch([hidden, beta])
            value = tf.reduce_sum(weights * function(hidden, beta) ** 2)
        slopes = inner.gradient(value, [hidden, beta])
        component = tf.reduce_sum(direction * slopes[0])
    return value, *slopes, outer.gradient(component, hidden)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm(shape):
    found, expected = derivatives(batch_norm, tf.float32, shape), derivatives(formula, tf.float64, shape)
    for mine, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, exact, atol=2e-5 * np.abs(exact).max())
