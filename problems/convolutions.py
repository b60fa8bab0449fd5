"""Convolutional classifiers of MNIST as the program of L2O-Scale has them: an architecture is data.

A block is a convolution, perhaps a bias, a constant factor, ReLU and perhaps a pool; a linear read-out follows. The
factor 1/√1.001 stands for batch normalisation that is left in inference mode with its initial moments, untrained.

Source: the program of *Training Stronger Baselines for Learning to Optimize*, part L2O-Scale, which evaluates on these,
and that of Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017 (https://arxiv.org/abs/1703.04813).
"""

import math
from typing import NamedTuple

import tensorflow as tf

from problems.base import Params, Problem, Seed, fold
from problems.datasets import DataOptions, Dataset, load
from problems.networks import INITIAL_STDDEV, NUM_CLASSES, classification


class Architecture(NamedTuple):
    """What a convolutional classifier is made of.

    Attributes:
        kernels: width and channels of each block.
        padding: `"VALID"` or `"SAME"`.
        stride: of the convolutions.
        bias: 1 or 0 bias tensors per block.
        factor: between convolution and ReLU.
        pool: width of the maximum pool after each block; 1 is none.
        rectified: 1 or 0 ReLUs on the logits.
    """

    kernels: tuple[tuple[int, int], ...]
    padding: str
    stride: int = 1
    bias: int = 0
    factor: float = 1.0
    pool: int = 1
    rectified: int = 0


_FIXED_NORM = 1 / math.sqrt(1.001)

MNIST = Architecture(((3, 16), (5, 32)), "VALID", bias=1, factor=_FIXED_NORM, pool=2, rectified=1)
"""Of `scale_mnist_conv`."""

CIFAR = MNIST._replace(stride=2)
"""The same for 32x32 colour images, which no registered problem has."""

UPSTREAM = Architecture(((3, 8), (5, 8)), "SAME")
"""Of `scale_mnist_conv_orig`."""


def scale_mnist_conv(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """Two convolutions with pools on MNIST and ReLU on the logits too, as L2O-Scale has it (18,122 coordinates).

    Args:
        batch_size: examples per minibatch; default 128.
        mode: `"train"` (default) for meta-training, `"test"` for evaluation; see `DataOptions.split`.
        data_options: where the images come from; default `DataOptions()`.

    Raises:
        ValueError: if `batch_size` is not positive.
        DataError: if the data cannot be had.
    """
    return convolutional("scale_mnist_conv", MNIST, load("mnist", mode, data_options), batch_size)


def scale_mnist_conv_orig(
    batch_size: int = 64, mode: str = "train", data_options: DataOptions | None = None
) -> Problem:
    """Two convolutions without biases and pools on MNIST (64,402 coordinates); arguments as in `scale_mnist_conv`."""
    return convolutional("scale_mnist_conv_orig", UPSTREAM, load("mnist", mode, data_options), batch_size)


CONVOLUTIONS = (scale_mnist_conv, scale_mnist_conv_orig)
"""The factories."""


def convolutional(name: str, architecture: Architecture, dataset: Dataset, batch_size: int) -> Problem:
    """An architecture on a data set; all tensors start from N(0, 0.01²).

    Args:
        name: of the problem.
        architecture: what the network is made of.
        dataset: images `[n, height, width, channels]` in 0..255 and labels.
        batch_size: examples per minibatch.
    """
    shapes = _shapes(architecture, dataset.images.shape[1:].as_list())

    def init(seed: Seed) -> Params:
        return {
            key: INITIAL_STDDEV * tf.random.stateless_normal(shape, fold(seed, k), alg="philox")
            for k, (key, shape) in enumerate(shapes.items())
        }

    def network(params: Params, hidden: tf.Tensor) -> tf.Tensor:
        for i in range(len(architecture.kernels)):
            hidden = tf.nn.conv2d(hidden, params[f"conv_{i}/w"], architecture.stride, architecture.padding)
            hidden = tf.nn.relu(architecture.factor * (hidden + params.get(f"conv_{i}/b", 0.0)))
            if architecture.pool > 1:
                hidden = tf.nn.max_pool2d(hidden, architecture.pool, architecture.pool, "VALID")
        logits = tf.reshape(hidden, [-1, shapes["linear/w"][0]]) @ params["linear/w"] + params["linear/b"]
        return tf.nn.relu(logits) if architecture.rectified else logits

    return classification(name, dataset, init, network, batch_size)


def _shapes(architecture: Architecture, image: list[int]) -> dict[str, list[int]]:
    """Parameter shapes, for images `[height, width, channels]`."""
    height, width, channels = image
    shapes: dict[str, list[int]] = {}
    for i, (kernel, filters) in enumerate(architecture.kernels):
        shapes[f"conv_{i}/w"] = [kernel, kernel, channels, filters]
        shapes |= {f"conv_{i}/b": [filters]} if architecture.bias else {}
        lost = kernel - 1 if architecture.padding == "VALID" else 0
        height, width = (-(-(side - lost) // architecture.stride) // architecture.pool for side in (height, width))
        channels = filters
    return shapes | {"linear/w": [height * width * channels, NUM_CLASSES], "linear/b": [NUM_CLASSES]}
