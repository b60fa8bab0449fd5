"""Larger classifiers of CIFAR-10: LeNet, a cell of NAS-Bench-201, VGG16, and DeepMind's network for two optimizers.

Each is a pure function `network(params, images) -> logits` and a table of starts. `lenet` and `nas` are the paper's
LeNet and NAS-CIFAR (section 5, figure 7) as its program has them; `lenet_paper` and `nas_paper` are what the paper says
without the program's additions. Minibatches come from a shuffled queue as in the program.

Sources: the program of *Training Stronger Baselines for Learning to Optimize*; Dong and Yang, *NAS-Bench-201*, 2020
(https://arxiv.org/abs/2001.00326); for `cifar_multi` DeepMind's learning-to-learn program (Andrychowicz et al., 2016,
https://arxiv.org/abs/1606.04474).
"""

import itertools
from collections.abc import Callable, Sequence

import tensorflow as tf

from problems.base import Problem
from problems.data.datasets import DataOptions, Dataset, load
from problems.data.sampling import shuffled_queue
from problems.images.layers import INITIAL_STDDEV, Start, batch_norm, convolution, dense, flat, max_pool, starts
from problems.images.perceptrons import NUM_CLASSES, classification

VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_NAS_CHANNELS = 16


def lenet(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """LeNet with batch norm on CIFAR-10, as the program means it (62,232 coordinates).

    Convolutions 5×5×6 and 5×5×16, each with batch norm, sigmoid and pool; dense layers of 120 and 84 with batch norm
    and sigmoid; 10 linear outputs. The batch norms have a trainable offset β and no scale. (As released, the program
    stops with an error before it can build this.)

    Arguments as in `problems.images.perceptrons.mnist`, here and below.
    """

    return _lenet("lenet", load("cifar10", mode, data_options), batch_size, normalized=True)


def lenet_paper(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """LeNet without batch norm on CIFAR-10, as the paper names it (62,006 coordinates)."""
    return _lenet("lenet_paper", load("cifar10", mode, data_options), batch_size, normalized=False)


def nas(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """NAS-CIFAR: one cell of NAS-Bench-201 with 16 channels on CIFAR-10, as the program has it (7,578 coordinates).

    With `unit(x) = ReLU(BN(conv3x3(x) + b))` of its own for each edge::

        n0 = unit(image),  n1 = unit(n0),  n2 = avgpool3x3(n1) + unit(n0),  n3 = n2 + unit(n1) + n0

    then the mean over all positions, a dense layer and ReLU on the logits.
    """

    def unit(params, layer, hidden):
        return tf.nn.relu(batch_norm(convolution(params, layer, hidden)))

    return _nas("nas", load("cifar10", mode, data_options), batch_size, unit, tf.nn.relu, bias_stddev=0.0)


def nas_paper(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """NAS-CIFAR with the edges of NAS-Bench-201, `BN(conv3x3(ReLU(x)) + b)`, and linear logits; else as `nas`."""

    def unit(params, layer, hidden):
        rectified = hidden if layer == "stem" else tf.nn.relu(hidden)
        return batch_norm(convolution(params, layer, rectified))

    return _nas("nas_paper", load("cifar10", mode, data_options), batch_size, unit, tf.identity, INITIAL_STDDEV)


def vgg16(
    blocks: Sequence[Sequence[int]] = VGG_BLOCKS,
    batch_size: int = 128,
    mode: str = "train",
    data_options: DataOptions | None = None,
) -> Problem:
    """VGG16 with one dense layer on CIFAR-10 (14,719,818 coordinates).

    As the program has it: the last layer applies softmax and the loss applies it again, so that the loss lies between
    1.46 and 2.46; the bias of the dense layer starts from 1.

    Args:
        blocks: filters of the 3×3 convolutions of each of the five blocks, which a 2×2 pool ends; default: VGG16's 13.
    """
    if len(blocks) != 5 or not all(block and min(block) > 0 for block in blocks):
        raise ValueError(f"Received blocks={blocks}, expected five, each with positive numbers of filters.")
    tensors: dict[str, Start] = {}
    filters = [3, *itertools.chain(*blocks)]
    for i, (inputs, outputs) in enumerate(itertools.pairwise(filters)):
        tensors |= {f"conv_{i}/w": Start([3, 3, inputs, outputs]), f"conv_{i}/b": Start([outputs], stddev=0.0)}
    tensors |= {"fc/w": Start([filters[-1], NUM_CLASSES]), "fc/b": Start([NUM_CLASSES], stddev=0.0, mean=1.0)}

    def network(params, hidden):
        layer = itertools.count()
        for block in blocks:
            for _ in block:
                hidden = tf.nn.relu(convolution(params, f"conv_{next(layer)}", hidden))
            hidden = max_pool(hidden)
        return tf.nn.softmax(dense(params, "fc", flat(hidden)))

    dataset = load("cifar10", mode, data_options)
    return classification("vgg16", dataset, starts(tensors), network, batch_size, shuffled_queue, convolves=True)


def cifar_multi(
    conv_channels: Sequence[int] = (16, 16, 16),
    linear_layers: Sequence[int] = (32,),
    batch_size: int = 128,
    mode: str = "train",
    data_options: DataOptions | None = None,
) -> Problem:
    """DeepMind's network on CIFAR-10, whose convolutions and dense layers get optimizers of their own.

    Convolutions 5×5 with bias, batch norm (trainable offset β), ReLU and 2×2 pool, then dense layers, of which the
    hidden ones have batch norm and ReLU, too. DeepMind gives the kernels, `conv_0/w, ...`, to one optimizer and all
    else, `fc_*`, to another: `--net_assignments='conv_*=L2O-DM,*=L2O-DM'`. The biases before a batch norm are cancelled
    by it: their gradients are round-off.

    Args:
        conv_channels: filters of each convolution; default (16, 16, 16).
        linear_layers: hidden units of each dense layer; default (32,).
    """
    if min((*conv_channels, *linear_layers), default=1) < 1 or not 1 <= len(conv_channels) <= 5:
        raise ValueError(
            f"Received conv_channels={tuple(conv_channels)} and linear_layers={tuple(linear_layers)}, expected "
            "positive sizes and one to five convolutions."
        )
    tensors: dict[str, Start] = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise((3, *conv_channels))):
        tensors[f"conv_{i}/w"] = Start([5, 5, inputs, outputs])
        tensors |= {f"fc_conv_{i}/b": Start([outputs]), f"fc_conv_{i}/beta": Start([outputs], stddev=0.0)}
    side = 32 >> len(conv_channels)
    sizes = (side**2 * conv_channels[-1], *linear_layers, NUM_CLASSES)
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        tensors |= {f"fc_{i}/w": Start([inputs, outputs]), f"fc_{i}/b": Start([outputs])}
        tensors |= {f"fc_{i}/beta": Start([outputs], stddev=0.0)} if i < len(linear_layers) else {}

    def network(params, hidden):
        for i in range(len(conv_channels)):
            hidden = convolution(params, f"conv_{i}", hidden) + params[f"fc_conv_{i}/b"]
            hidden = max_pool(tf.nn.relu(batch_norm(hidden, params[f"fc_conv_{i}/beta"])))
        hidden = flat(hidden)
        for i in range(len(linear_layers)):
            hidden = tf.nn.relu(batch_norm(dense(params, f"fc_{i}", hidden), params[f"fc_{i}/beta"]))
        return dense(params, f"fc_{len(linear_layers)}", hidden)

    dataset = load("cifar10", mode, data_options)
    return classification("cifar_multi", dataset, starts(tensors), network, batch_size, shuffled_queue, convolves=True)


def _lenet(name: str, dataset: Dataset, batch_size: int, normalized: bool) -> Problem:
    """LeNet; where it is normalised, each layer but the last has batch norm with an offset."""
    shapes = {"conv_0": [5, 5, 3, 6], "conv_1": [5, 5, 6, 16], "fc_0": [400, 120], "fc_1": [120, 84]}
    tensors: dict[str, Start] = {}
    for layer, shape in (shapes | {"fc_2": [84, NUM_CLASSES]}).items():
        tensors |= {f"{layer}/w": Start(shape), f"{layer}/b": Start(shape[-1:])}
        if normalized and layer in shapes:
            tensors[f"{layer}/beta"] = Start([*[1] * (len(shape) - 1), shape[-1]], stddev=0.0)

    def activate(params, layer, hidden):
        return tf.sigmoid(batch_norm(hidden, params[f"{layer}/beta"]) if normalized else hidden)

    def network(params, hidden):
        for layer in ("conv_0", "conv_1"):
            hidden = max_pool(activate(params, layer, convolution(params, layer, hidden, padding="VALID")))
        hidden = flat(hidden)
        for layer in ("fc_0", "fc_1"):
            hidden = activate(params, layer, dense(params, layer, hidden))
        return dense(params, "fc_2", hidden)

    return classification(name, dataset, starts(tensors), network, batch_size, shuffled_queue, convolves=True)


def _nas(name: str, dataset: Dataset, batch_size: int, unit: Callable, head: Callable, bias_stddev: float) -> Problem:
    """A cell of `unit(params, edge, hidden)`, and logits through `head`."""
    tensors: dict[str, Start] = {}
    for layer in ("stem", "edge_02", "edge_01", "edge_13"):  # in the order in which the program creates them
        shape = [3, 3, 3 if layer == "stem" else _NAS_CHANNELS, _NAS_CHANNELS]
        tensors |= {f"{layer}/w": Start(shape), f"{layer}/b": Start([_NAS_CHANNELS], bias_stddev)}
    tensors |= {"fc/w": Start([_NAS_CHANNELS, NUM_CLASSES]), "fc/b": Start([NUM_CLASSES], bias_stddev)}

    def network(params, images):
        n0 = unit(params, "stem", images)
        n1 = unit(params, "edge_01", n0)
        n2 = tf.nn.avg_pool2d(n1, 3, 1, "SAME") + unit(params, "edge_02", n0)
        n3 = n2 + unit(params, "edge_13", n1) + n0
        return head(dense(params, "fc", tf.reduce_mean(n3, axis=(1, 2))))

    return classification(name, dataset, starts(tensors), network, batch_size, shuffled_queue, convolves=True)
