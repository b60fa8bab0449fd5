"""Data sets that are drawn, not loaded: rows with one of two labels, and the order in which minibatches visit them.

Each data set is a function of its sizes and a seed of its own, which it draws from with NumPy. So a data set belongs to
a problem and is the same in all of its runs, whatever seeds they have. The distributions are those of the ensemble that
L2O-Scale was meta-trained on; the numbers are other ones.

Source: Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017 (https://arxiv.org/abs/1703.04813), and
its program.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from problems.base import DataInfo, fingerprint, require_positive

DATA_SEED = 123
"""Default seed of drawn data, the one of the original program where it gives one."""

_MLP_LAYERS, _MLP_WIDTH = 6, 20
_FLIPPED = 0.01
_PARITY_ROWS, _PARITY_NOISE = 5, 0.25


class Rows(NamedTuple):
    """A drawn data set: float32 `features [n, F]`, int32 `labels [n]` in {0, 1}, and what it is."""

    features: tf.Tensor
    labels: tf.Tensor
    info: DataInfo


def clusters(num_features: int, num_rows: int = 1000, separation: float = 1.0, seed: int = DATA_SEED) -> Rows:
    """Two classes of two normal clusters each, around different corners of the cube `{−separation, separation}^F`.

    A cluster is `corner + z A` with `z ~ N(0, I)` and its own matrix `A` ~ U(−1, 1). Afterwards 1 % of the rows get a
    label by chance. This is what scikit-learn's `make_classification` draws when all features are informative.

    Args:
        num_features: F, at least 2, so that there are four corners.
        num_rows: n; default 1000.
        separation: distance of the corners from the planes between them; default 1.0.
        seed: of the data; default 123.
    """
    if num_features < 2 or num_rows < 1:
        raise ValueError(
            f"Received num_features={num_features} and num_rows={num_rows}, expected at least 2 features and 1 row."
        )
    rng = np.random.default_rng(seed)
    cluster = np.arange(num_rows) % 4
    corners = separation * (2.0 * _distinct_bits(rng, 4, num_features) - 1.0)
    mixing = rng.uniform(-1.0, 1.0, [4, num_features, num_features])
    features = rng.standard_normal([num_rows, num_features])
    for k in range(4):
        features[cluster == k] = features[cluster == k] @ mixing[k] + corners[k]
    chance = rng.random(num_rows) < _FLIPPED
    labels = np.where(chance, rng.integers(0, 2, num_rows), cluster % 2)
    order = rng.permutation(num_rows)
    return _rows(f"clusters-{num_features}-{separation:g}", features[order], labels[order])


def random_mlp(num_features: int, num_rows: int = 1000, seed: int = DATA_SEED) -> Rows:
    """`x ~ N(0, I)`, and label 1 where the first unit of a random network is active.

    The network has six layers of 20 ReLU units without biases, with weights `N(0, 2 / num_features)` in every layer.
    """
    require_positive("num_features", num_features)
    require_positive("num_rows", num_rows)
    rng = np.random.default_rng(seed)
    features = hidden = rng.standard_normal([num_rows, num_features])
    for _ in range(_MLP_LAYERS):
        weights = rng.standard_normal([hidden.shape[1], _MLP_WIDTH]) * np.sqrt(2.0 / num_features)
        hidden = np.maximum(hidden @ weights, 0.0)
    return _rows(f"random-mlp-{num_features}", features, hidden[:, 0] > 0)


def noisy_parity(num_features: int = 5, seed: int = DATA_SEED) -> Rows:
    """Five rows of bits; the label is the parity of their sum, where a quarter of the sums has one added."""
    require_positive("num_features", num_features)
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, [_PARITY_ROWS, num_features])
    labels = (bits.sum(axis=1) + (rng.random(_PARITY_ROWS) < _PARITY_NOISE)) % 2
    return _rows(f"noisy-parity-{num_features}", bits, labels)


def _distinct_bits(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """`[count, width]` bits in rows that differ."""
    while True:
        bits = rng.integers(0, 2, [count, width])
        if len(np.unique(bits, axis=0)) == count:
            return bits


def _rows(name: str, features: np.ndarray, labels: np.ndarray) -> Rows:
    features, labels = features.astype(np.float32), labels.astype(np.int32)
    info = DataInfo(name, "train", len(labels), fingerprint(features, labels))
    with tf.init_scope():  # the data belong to the problem, not to the graph that asks for it first
        return Rows(tf.constant(features), tf.constant(labels), info)
