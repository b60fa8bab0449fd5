"""What convolutional networks are made of, as pure functions of tensors; and their starts as data.

Images are `[B, height, width, channels]` (NHWC), kernels `[height, width, channels, filters]`, as TensorFlow and Keras
have them. Batch normalisation always uses the moments of its minibatch, as the original programs do in meta-training
and in evaluation.
"""

import itertools
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from problems.base import Params, Seed, fold

Network = Callable[[Params, tf.Tensor], tf.Tensor]
"""`(params, rows or images [B, ...]) -> logits [B, classes]`."""

INITIAL_STDDEV = 0.01
"""Standard deviation of weights and biases at the start (paper, section 5)."""

BATCH_NORM_EPSILON = 1e-3
"""Added to the variance (Sonnet's and `tf.layers`' default)."""

ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "sigmoid": tf.sigmoid,
    "relu": tf.nn.relu,
    "tanh": tf.tanh,
    "elu": tf.nn.elu,
}
"""The first two are DeepMind's; with the others one can choose, and measure, where the paper has not evaluated."""


class Start(NamedTuple):
    """A tensor at the start of a run: N(mean, stddev²) in every entry."""

    shape: Sequence[int]
    stddev: float = INITIAL_STDDEV
    mean: float = 0.0


def starts(tensors: Mapping[str, Start]) -> Callable[[Seed], Params]:
    """`seed -> params` of tensors that are independent."""

    def init(seed):
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
    """`rows @ layer/w + layer/b`, of rows `[..., B, features]` and parameters with the same leading axes."""
    return rows @ params[f"{layer}/w"] + params[f"{layer}/b"][..., None, :]


def batch_norm(hidden: tf.Tensor, beta: tf.Tensor | float = 0.0) -> tf.Tensor:
    """`(x − mean) / √(variance + ε) + β` with the moments of each channel over the minibatch and all positions."""
    return _normalized(hidden) + beta


@tf.custom_gradient
def _normalized(x: tf.Tensor) -> tf.Tensor:
    """`y = r (x − mean)` with `r = 1/√(variance + ε)`, and its gradient written out::

        ∂L/∂x = r (ȳ − mean(ȳ) − y mean(ȳ y)),    ȳ = ∂L/∂y

    which reads and writes the images half as often as that of `tf.nn.moments`; second derivatives follow from it.
    (Those of `tf.nn.moments` lack a term: it takes the mean in its variance for a constant.)
    """
    centred = x - _mean(x)
    scale = tf.math.rsqrt(_mean(tf.square(centred)) + BATCH_NORM_EPSILON)
    y = centred * scale

    def gradient(y_bar):
        return scale * (y_bar - _mean(y_bar) - y * _mean(y_bar * y))

    return y, gradient


def _mean(x: tf.Tensor) -> tf.Tensor:
    """Of each channel, `[..., C] -> [C]`; over the minibatch by a product, the fastest sum there is on a processor."""
    size = tf.shape(x)[0]
    rows = tf.reshape(x, [size, -1])
    positions = tf.matmul(tf.ones([1, size], x.dtype), rows) / tf.cast(size, x.dtype)
    return tf.reduce_mean(tf.reshape(positions, [-1, x.shape[-1]]), axis=0)


def max_pool(hidden: tf.Tensor, width: int = 2) -> tf.Tensor:
    """The maximum of each square, without overlap; what is left at the border is dropped."""
    return tf.nn.max_pool2d(hidden, width, width, "VALID")


def flat(images: tf.Tensor) -> tf.Tensor:
    """`[..., height, width, channels] -> [..., features]`."""
    return tf.reshape(images, tf.concat([tf.shape(images)[:-3], [images.shape[-3:].num_elements()]], axis=0))


def perceptron(
    inputs: int, layers: Sequence[int], outputs: int, activation: str
) -> tuple[dict[str, list[int]], Network]:
    """Shapes and network of dense layers with the activation between them: `layer_0/w, layer_0/b, layer_1/w, ...`."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"Received activation={activation!r}, expected one of {', '.join(ACTIVATIONS)}.")
    whole = isinstance(layers, Sequence) and all(isinstance(units, numbers.Integral) for units in layers)
    if not whole or min(layers, default=1) < 1:
        raise ValueError(f"Received layers={layers!r}, expected a sequence of positive numbers of units.")
    shapes: dict[str, list[int]] = {}
    for i, (before, after) in enumerate(itertools.pairwise((inputs, *layers, outputs))):
        shapes |= {f"layer_{i}/w": [before, after], f"layer_{i}/b": [after]}

    def network(params, hidden):
        for i in range(len(layers)):
            hidden = ACTIVATIONS[activation](dense(params, f"layer_{i}", hidden))
        return dense(params, f"layer_{len(layers)}", hidden)

    return shapes, network
