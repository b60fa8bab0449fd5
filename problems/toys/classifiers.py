"""Small classifiers of drawn data with two labels, from logistic regression to networks of four layers.

All of them are `_classifier` around a pure function `network(params, features) -> logits [B, 2]`. Only the first of the
two outputs counts: the loss is its mean sigmoid cross-entropy with the label, plus `l2` times the mean over tensors of
their sums of squares. Minibatches visit the rows in epochs; `measure` takes all rows. F is `num_features`; `num_rows`
and `data_seed` are those of the data (problems/data/drawn.py). Values out of range raise a ValueError.

Source: the ensemble of Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017
(https://arxiv.org/abs/1703.04813), and its program, which draws each tensor, biases too, from N(0, 1.44 / length of the
first axis) and adds an `l2` of 0.001. The program of *Training Stronger Baselines for Learning to Optimize* draws the
tensors of networks from N(0, 0.01²), and adds nothing.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from problems.base import Problem, measured_by, require_not_negative, require_positive
from problems.data.drawn import DATA_SEED, Rows, clusters, noisy_parity, random_mlp
from problems.data.sampling import epochs
from problems.images.layers import Network, Start, perceptron, starts

NUM_CLASSES = 2
_GAIN = 1.2


def softmax_regression(
    num_features: int = 10,
    separation: float = 2.0,
    num_rows: int = 1000,
    batch_size: int = 100,
    l2: float = 0.0,
    data_seed: int = DATA_SEED,
) -> Problem:
    """Logistic regression on clusters: `logits = d W + b` with `W [F, 2]` and `b [2]` (original: SoftmaxRegression)."""
    rows = clusters(num_features, num_rows, separation, data_seed)
    shapes = {"w": [num_features, NUM_CLASSES], "b": [NUM_CLASSES]}

    def network(params, features):
        return features @ params["w"] + params["b"]

    return _classifier("softmax_regression", rows, shapes, network, batch_size, l2)


def sparse_softmax_regression(num_features: int = 5, l2: float = 0.0, data_seed: int = DATA_SEED) -> Problem:
    """Noisy parity of five rows of bits: `logits = (Σ_j E[d_j]) W + b` with `E [2, F]` looked up by the bits d.

    The other parameters are `W [F, 2]` and `b [2]`. Every minibatch is all five rows.
    """

    def look_up(table, ids):
        return tf.gather(1.0 * table, ids)  # the factor makes the gradient dense

    return _bag_of_bits("sparse_softmax_regression", num_features, look_up, l2, data_seed)


def one_hot_sparse_softmax_regression(num_features: int = 5, l2: float = 0.0, data_seed: int = DATA_SEED) -> Problem:
    """`sparse_softmax_regression` with one-hot vectors for the look-up: the same function and arguments."""

    def look_up(table, ids):
        return tf.one_hot(ids, NUM_CLASSES, dtype=table.dtype) @ table

    return _bag_of_bits("one_hot_sparse_softmax_regression", num_features, look_up, l2, data_seed)


def fully_connected(
    num_features: int = 8,
    layers: Sequence[int] = (8, 5),
    activation: str = "sigmoid",
    num_rows: int = 1000,
    batch_size: int = 10,
    stddev: float | None = None,
    l2: float = 0.0,
    data_seed: int = DATA_SEED,
) -> Problem:
    """A small network that learns the labels of a random deep one: F-8-5-2 with sigmoid (original: FullyConnected).

    Args:
        layers: hidden units of each hidden layer; default (8, 5).
        activation: `"sigmoid"` (default), `"relu"`, `"tanh"` or `"elu"`, after each hidden layer.
        stddev: of weights and biases at the start; default: the rule in the module's docstring.
    """
    shapes, network = perceptron(num_features, layers, NUM_CLASSES, activation)
    rows = random_mlp(num_features, num_rows, data_seed)
    return _classifier("fully_connected", rows, shapes, network, batch_size, l2, stddev)


def _bag_of_bits(name: str, num_features: int, look_up: Callable, l2: float, data_seed: int) -> Problem:
    rows = noisy_parity(num_features, data_seed)
    shapes = {"embedding": [NUM_CLASSES, num_features], "w": [num_features, NUM_CLASSES], "b": [NUM_CLASSES]}

    def network(params, features):
        chosen = look_up(params["embedding"], tf.cast(features, tf.int32))
        return tf.reduce_sum(chosen, axis=1) @ params["w"] + params["b"]

    return _classifier(name, rows, shapes, network, rows.info.size, l2)


def _classifier(
    name: str, rows: Rows, shapes: dict, network: Network, batch_size: int, l2: float, stddev: float | None = None
) -> Problem:
    """`network` on `rows` as a problem; `stddev` as in `fully_connected`."""
    require_positive("batch_size", batch_size)
    require_not_negative("stddev", stddev or 0.0)
    features, labels, info = rows
    spread = {key: _GAIN / math.sqrt(shape[0]) if stddev is None else stddev for key, shape in shapes.items()}
    start = starts({key: Start(shape, spread[key]) for key, shape in shapes.items()})

    def total(params, logits, targets):
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(targets, logits.dtype), logits[:, 0])
        squares = [tf.reduce_sum(tf.square(param)) for param in params.values()]
        return tf.reduce_mean(entropy) + l2 * tf.add_n(squares) / len(squares)

    def loss(params, constants, batch):
        return total(params, network(params, tf.gather(features, batch)), tf.gather(labels, batch))

    def whole(params, constants):
        logits = network(params, features)
        correct = (logits[:, 0] > 0) == (labels > 0)
        return {"loss": total(params, logits, labels), "accuracy": tf.reduce_mean(tf.cast(correct, logits.dtype))}

    sample, measure = epochs(info.size, batch_size), measured_by(loss, whole)
    return Problem(name, lambda seed: (start(seed), ()), sample, loss, info, measure)
