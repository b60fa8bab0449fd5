"""A problem small enough for tests, and students with given weights.

The problem is a 6-5-3 sigmoid network on 16 fixed points, 53 coordinates: every point at every step, or minibatches.
"""

import numpy as np
import tensorflow as tf

from l2o_tf.optimizers.base import CoordinatewiseOptimizer
from l2o_tf.optimizers.lstm.dm import DMCell
from l2o_tf.optimizers.lstm.rnnprop import RNNpropCell
from l2o_tf.training.lessons.imitation import half_mean_squared_error
from problems.base import Problem, fold, no_batches
from tests.l2o_tf import numpy_reference as reference

SIZES = (6, 5, 3)
SHAPES = {"w1": [6, 5], "b1": [5], "w2": [5, 3], "b2": [3]}
SIZE = 53
_RNG = np.random.default_rng(7)
X = _RNG.normal(size=[16, 6])
Y = _RNG.integers(3, size=16)


def perceptron(batch_size=0, dtype=tf.float32) -> Problem:
    """The problem; `batch_size=0` means all points. Its constant `shift` moves the points, in each run otherwise."""
    x, y = tf.constant(X, dtype), tf.constant(Y)

    def init(seed):
        params = {
            name: 0.5 * tf.random.stateless_normal(shape, fold(seed, index), dtype=dtype)
            for index, (name, shape) in enumerate(SHAPES.items())
        }
        return params, {"shift": 0.1 * tf.random.stateless_normal([6], fold(seed, 99), dtype=dtype)}

    def sample(seed, num_steps):
        if not batch_size:
            return no_batches(seed, num_steps)
        return tf.random.stateless_uniform([num_steps, batch_size], seed, 0, 16, tf.int32)

    def loss(params, constants, batch):
        points, labels = (tf.gather(x, batch), tf.gather(y, batch)) if batch_size else (x, y)
        hidden = tf.sigmoid((points + constants["shift"]) @ params["w1"] + params["b1"])
        logits = hidden @ params["w2"] + params["b2"]
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    def measure(params, constants, part=None):
        everything = tf.range(16) if batch_size else tf.zeros([], tf.int32)
        hidden = tf.sigmoid((x + constants["shift"]) @ params["w1"] + params["b1"])
        found = tf.argmax(hidden @ params["w2"] + params["b2"], axis=1)
        accuracy = tf.reduce_mean(tf.cast(found == y, tf.float32))
        return {"loss": tf.cast(loss(params, constants, everything), tf.float32), "accuracy": accuracy}

    return Problem("perceptron", init, sample, loss, None, measure)


def numpy_loss(constants, batches):
    """The same loss for `numpy_reference`: `(theta [N], t) -> (loss, gradient)` in float64."""
    shift, batches = np.float64(constants["shift"]), np.asarray(batches)

    def loss_and_grad(theta, t):
        rows = batches[t] if batches.ndim == 2 else slice(None)
        return reference.perceptron(X[rows] + shift, Y[rows], SIZES, theta)

    return loss_and_grad


def flat(params) -> np.ndarray:
    """`[N]` in float64: all tensors in the order of the dict."""
    return np.concatenate([np.asarray(tensor, np.float64).ravel() for tensor in params.values()])


def student(weights, cell=DMCell, **options) -> CoordinatewiseOptimizer:
    """An optimizer with these weights, by default L2O-DM."""
    optimizer = CoordinatewiseOptimizer(cell(**options))
    assign(optimizer, weights)
    return optimizer


def assign(optimizer, weights) -> None:
    assert list(optimizer.named_variables) == list(weights)
    for name, variable in optimizer.named_variables.items():
        variable.assign(weights[name])


def random_student(seed=0, layers=(20, 20), spread=1.0, scale=0.01, dtype="float32"):
    """`(optimizer, its weights)`, random ones."""
    weights = reference.random_weights(np.random.default_rng(seed), layers, spread=spread, dtype=np.dtype(dtype))
    return student(weights, layers=layers, scale=scale, dtype=dtype), weights


def random_rnnprop(seed=0, layers=(20, 20), spread=1.0, projection=20, dtype="float32", **options):
    """`(RNNprop, its weights)`, random ones."""
    weights = reference.random_weights(
        np.random.default_rng(seed), layers, spread=spread, dtype=np.dtype(dtype), projection=projection
    )
    return student(weights, RNNpropCell, layers=layers, projection=projection, dtype=dtype, **options), weights


def half_mean(labels, updates):
    """The original program's distance, summed over steps and coordinates."""
    return tf.reduce_sum(half_mean_squared_error(labels, updates, updates.shape[1]))


def in_float64(weights):
    return {name: np.float64(value) for name, value in weights.items()}


def assert_gradients(actual, expected, rtol) -> None:
    """Compares a list of meta-gradients with a dict, each tensor relative to its largest entry."""
    for (name, theirs), ours in zip(expected.items(), actual, strict=True):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert np.abs(theirs).max() > 0, f"{name}: nothing to compare"
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * np.abs(theirs).max(), err_msg=name)
