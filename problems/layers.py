"""What convolutional networks are made of, as pure functions of tensors; and their starts as data.

Images are `[B, height, width, channels]` (NHWC), kernels `[height, width, channels, filters]`, as TensorFlow and Keras
have them. Batch normalisation always uses the moments of its minibatch, as the original programs do in meta-training
and in evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from problems.base import Params, Seed, fold

INITIAL_STDDEV = 0.01
"""Standard deviation of weights and biases at the start (paper, section 5)."""

BATCH_NORM_EPSILON = 1e-3
"""Added to the variance (Sonnet's and `tf.layers`' default)."""


class Start(NamedTuple):
    """A tensor at the start of a run: N(mean, stddev²) in every entry."""

    shape: Sequence[int]
    stddev: float = INITIAL_STDDEV
    mean: float = 0.0


def starts(tensors: Mapping[str, Start]) -> Callable[[Seed], Params]:
    """`init` of a problem whose tensors are independent: `seed -> params`."""

    def init(seed: Seed) -> Params:
        return {
            key: mean + stddev * tf.random.stateless_normal(shape, fold(seed, k))
            for k, (key, (shape, stddev, mean)) in enumerate(tensors.items())
        }

    return init


def convolution(params: Params, layer: str, images: tf.Tensor, stride: int = 1, padding: str = "SAME") -> tf.Tensor:
    """`images * layer/w + layer/b`; without a bias where there is none."""
    hidden = tf.nn.conv2d(images, params[f"{layer}/w"], stride, padding)
    return hidden + params[f"{layer}/b"] if f"{layer}/b" in params else hidden


def dense(params: Params, layer: str, rows: tf.Tensor) -> tf.Tensor:
    """`rows @ layer/w + layer/b`."""
    return rows @ params[f"{layer}/w"] + params[f"{layer}/b"]


def batch_norm(hidden: tf.Tensor, beta: tf.Tensor | float = 0.0) -> tf.Tensor:
    """`(x − mean) / √(variance + ε) + β` with the moments of each channel over the minibatch and all positions."""
    mean, variance = tf.nn.moments(hidden, axes=list(range(len(hidden.shape) - 1)))
    return (hidden - mean) * tf.math.rsqrt(variance + BATCH_NORM_EPSILON) + beta


def max_pool(hidden: tf.Tensor, width: int = 2) -> tf.Tensor:
    """The maximum of each square, without overlap; what is left at the border is dropped."""
    return tf.nn.max_pool2d(hidden, width, width, "VALID")


def flat(hidden: tf.Tensor) -> tf.Tensor:
    """`[B, ...] -> [B, features]`."""
    return tf.reshape(hidden, [-1, hidden.shape[1:].num_elements()])
