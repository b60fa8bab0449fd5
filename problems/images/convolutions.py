"""Convolutional classifiers whose blocks are alike: an architecture is data.

A block is a convolution, perhaps a bias, a normalisation, ReLU and perhaps a pool; a linear read-out follows. Networks
of other shapes are in problems/images/cifar.py.

Conv-MNIST and Conv-CIFAR of the paper are here three times. `mnist_conv` and `cifar_conv` are what the program of
L2O-DM and RNNprop really does: batch normalisation between bias and ReLU, ReLU on the logits too, biases that start
from 0. `mnist_conv_paper` and `cifar_conv_paper` are what the paper describes, which mentions none of these.
`scale_mnist_conv` is what the program of L2O-Scale does: batch normalisation left in inference mode with its initial
moments, untrained, which is the factor 1/√1.001. Arguments of all are those of `mnist`.

Sources: the programs of *Training Stronger Baselines for Learning to Optimize* and section 5 of that paper; for
`scale_mnist_conv_orig` Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017
(https://arxiv.org/abs/1703.04813).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from problems.base import Problem
from problems.data.datasets import DataOptions, Dataset, load
from problems.data.sampling import Sample, shuffled_queue, with_replacement
from problems.images.layers import INITIAL_STDDEV, Start, batch_norm, convolution, dense, flat, max_pool, starts
from problems.images.perceptrons import NUM_CLASSES, classification


def _fixed_norm(hidden: tf.Tensor) -> tf.Tensor:
    """Batch normalisation with the moments 0 and 1 that it begins with: `x / √(1 + 1e-3)`."""
    return hidden / math.sqrt(1.001)


class Architecture(NamedTuple):
    """What a convolutional classifier is made of.

    Attributes:
        kernels: width and filters of each block.
        padding: `"VALID"` or `"SAME"`.
        stride: of the convolutions.
        bias: whether blocks have one.
        bias_stddev: standard deviation of all biases at the start.
        normalize: what comes between convolution and ReLU.
        pool: width of the maximum pool after each block; 1 is none.
        head: what comes after the linear read-out.
    """

    kernels: tuple[tuple[int, int], ...]
    padding: str
    stride: int = 1
    bias: bool = False
    bias_stddev: float = INITIAL_STDDEV
    normalize: Callable[[tf.Tensor], tf.Tensor] = tf.identity
    pool: int = 1
    head: Callable[[tf.Tensor], tf.Tensor] = tf.identity


PAPER = Architecture(((3, 16), (5, 32)), "VALID", bias=True, pool=2)
"""Of `mnist_conv_paper`, and with stride 2 of `cifar_conv_paper`."""

PROGRAM = PAPER._replace(normalize=batch_norm, head=tf.nn.relu, bias_stddev=0.0)
"""Of `mnist_conv`, and with stride 2 of `cifar_conv`."""

SCALE = PAPER._replace(normalize=_fixed_norm, head=tf.nn.relu)
"""Of `scale_mnist_conv`; with stride 2 that of L2O-Scale's program for CIFAR-10, which no registered problem has."""

UPSTREAM = Architecture(((3, 8), (5, 8)), "SAME")
"""Of `scale_mnist_conv_orig`."""


def mnist_conv(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """Conv-MNIST as the program has it: two blocks 3×3×16 and 5×5×32 with batch norm and pool (18,122 coordinates).

    The biases of the convolutions are cancelled by the batch norm: their gradients are round-off. ReLU on the logits
    makes `ln 10` with a gradient of zero a place where a run may stay for ever.
    """
    return convolutional("mnist_conv", PROGRAM, load("mnist", mode, data_options), batch_size)


def mnist_conv_paper(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """Conv-MNIST as the paper describes it: `mnist_conv` without batch norm, ReLU on the logits and zero biases."""
    return convolutional("mnist_conv_paper", PAPER, load("mnist", mode, data_options), batch_size)


def cifar_conv(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """Conv-CIFAR as the program has it: `mnist_conv` with stride 2 on CIFAR-10 (13,610 coordinates).

    Minibatches come from a shuffled queue (`problems.data.sampling.shuffled_queue`).
    """
    dataset = load("cifar10", mode, data_options)
    return convolutional("cifar_conv", PROGRAM._replace(stride=2), dataset, batch_size, shuffled_queue)


def cifar_conv_paper(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """Conv-CIFAR as the paper describes it: `mnist_conv_paper` with stride 2 on CIFAR-10, sampled as `mnist_conv`."""
    dataset = load("cifar10", mode, data_options)
    return convolutional("cifar_conv_paper", PAPER._replace(stride=2), dataset, batch_size)


def scale_mnist_conv(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """Conv-MNIST as L2O-Scale's program has it, without a working batch norm (18,122 coordinates)."""
    return convolutional("scale_mnist_conv", SCALE, load("mnist", mode, data_options), batch_size)


def scale_mnist_conv_orig(
    batch_size: int = 64, mode: str = "train", data_options: DataOptions | None = None
) -> Problem:
    """Two convolutions without biases and pools on MNIST (64,402 coordinates)."""
    return convolutional("scale_mnist_conv_orig", UPSTREAM, load("mnist", mode, data_options), batch_size)


def convolutional(
    name: str,
    architecture: Architecture,
    dataset: Dataset,
    batch_size: int,
    sampling: Callable[[int, int], Sample] = with_replacement,
) -> Problem:
    """An architecture on a data set; weights start from N(0, 0.01²), arguments are as in `classification`."""

    def network(params, hidden):
        for i in range(len(architecture.kernels)):
            hidden = convolution(params, f"conv_{i}", hidden, architecture.stride, architecture.padding)
            hidden = tf.nn.relu(architecture.normalize(hidden))
            hidden = max_pool(hidden, architecture.pool) if architecture.pool > 1 else hidden
        return architecture.head(dense(params, "linear", flat(hidden)))

    tensors = _tensors(architecture, dataset.images.shape[1:].as_list())
    return classification(name, dataset, starts(tensors), network, batch_size, sampling, convolves=True)


def _tensors(architecture: Architecture, image: list[int]) -> dict[str, Start]:
    """Parameters in the order of the original program, for images `[height, width, channels]`."""
    height, width, channels = image
    tensors: dict[str, Start] = {}
    for i, (kernel, filters) in enumerate(architecture.kernels):
        tensors[f"conv_{i}/w"] = Start([kernel, kernel, channels, filters])
        if architecture.bias:
            tensors[f"conv_{i}/b"] = Start([filters], architecture.bias_stddev)
        lost = kernel - 1 if architecture.padding == "VALID" else 0
        height, width = (-(-(side - lost) // architecture.stride) // architecture.pool for side in (height, width))
        channels = filters
    tensors["linear/w"] = Start([height * width * channels, NUM_CLASSES])
    return tensors | {"linear/b": Start([NUM_CLASSES], architecture.bias_stddev)}
