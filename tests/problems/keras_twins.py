"""The convolutional problems once more, as ordinary Keras models to check ours against.

`MODELS[name]()` is a built `keras.Model`. Its trainable variables have the shapes and the order of the problem's
parameters, so that `assign(model, params)` makes the two equal. Batch normalisation uses the moments of the minibatch,
that is `training=True`.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from problems.base import Params, Problem
from problems.data.datasets import MODES, DataOptions, load
from problems.images.cifar import VGG_BLOCKS

_NORM = {"epsilon": 1e-3, "scale": False}
_NAS_LAYERS = ("stem", "edge_02", "edge_01", "edge_13", "fc")  # Keras sorts the layers of a graph by depth


def assign(model: keras.Model, params: Params) -> None:
    """Gives the model the problem's parameters."""
    for variable, value in zip(variables(model), params.values(), strict=True):
        variable.assign(value.numpy().reshape(variable.shape))


def variables(model: keras.Model) -> list[keras.Variable]:
    """Trainable variables in the order of the problem's parameters."""
    layers = {layer.name: layer.trainable_variables for layer in model.layers}
    order = [name for name in _NAS_LAYERS if name in layers] or layers
    return [variable for name in order for variable in layers[name]]


def examples(problem: Problem, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Images and labels of a minibatch."""
    name = "mnist" if "mnist" in problem.name else "cifar10"
    loaded = (load(name, mode, DataOptions(data)) for data in ("embedded", "auto") for mode in MODES)
    images, labels, _ = next(each for each in loaded if each.info == problem.data)
    return tf.gather(images, batch), tf.gather(labels, batch)


def _two_blocks(shape: tuple[int, int, int], stride: int, norm: bool) -> keras.Model:
    layers = [keras.Input(shape)]
    for filters, width in ((16, 3), (32, 5)):
        layers += [keras.layers.Conv2D(filters, width, stride)]
        layers += [keras.layers.BatchNormalization(center=False, **_NORM)] if norm else []
        layers += [keras.layers.ReLU(), keras.layers.MaxPool2D()]
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(10, "relu" if norm else None)])


def _lenet(norm: bool) -> keras.Model:
    normalize = [lambda: keras.layers.BatchNormalization(center=True, **_NORM)] if norm else []
    layers = [keras.Input((32, 32, 3))]
    for filters in (6, 16):
        layers += [keras.layers.Conv2D(filters, 5), *(make() for make in normalize)]
        layers += [keras.layers.Activation("sigmoid"), keras.layers.MaxPool2D()]
    layers += [keras.layers.Flatten()]
    for units in (120, 84):
        layers += [keras.layers.Dense(units), *(make() for make in normalize), keras.layers.Activation("sigmoid")]
    return keras.Sequential([*layers, keras.layers.Dense(10)])


def _nas(before: bool) -> keras.Model:
    """`before`: ReLU before the convolution (NAS-Bench-201) or after the norm (the program)."""

    def norm(hidden):
        return keras.layers.BatchNormalization(center=False, **_NORM)(hidden)

    def conv(hidden, name):
        return keras.layers.Conv2D(16, 3, padding="same", name=name)(hidden)

    def unit(hidden, name):
        if before:
            return norm(conv(keras.layers.ReLU()(hidden), name))
        return keras.layers.ReLU()(norm(conv(hidden, name)))

    image = keras.Input((32, 32, 3))
    n0 = norm(conv(image, "stem")) if before else unit(image, "stem")
    n1 = unit(n0, "edge_01")
    n2 = keras.layers.Add()([keras.layers.AveragePooling2D(3, 1, "same")(n1), unit(n0, "edge_02")])
    n3 = keras.layers.Add()([n2, unit(n1, "edge_13"), n0])
    head = keras.layers.Dense(10, None if before else "relu", name="fc")
    return keras.Model(image, head(keras.layers.GlobalAveragePooling2D()(n3)))


def _vgg16(blocks=VGG_BLOCKS) -> keras.Model:
    layers = [keras.Input((32, 32, 3))]
    for block in blocks:
        layers += [keras.layers.Conv2D(filters, 3, padding="same", activation="relu") for filters in block]
        layers += [keras.layers.MaxPool2D()]
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])


def _cifar_multi() -> keras.Model:
    layers = [keras.Input((32, 32, 3))]
    for _ in range(3):
        layers += [keras.layers.Conv2D(16, 5, padding="same")]
        layers += [keras.layers.BatchNormalization(center=True, **_NORM)]
        layers += [keras.layers.ReLU(), keras.layers.MaxPool2D()]
    layers += [keras.layers.Flatten(), keras.layers.Dense(32)]
    layers += [keras.layers.BatchNormalization(center=True, **_NORM), keras.layers.ReLU(), keras.layers.Dense(10)]
    return keras.Sequential(layers)


MODELS: dict[str, Callable[..., keras.Model]] = {
    "mnist_conv": lambda: _two_blocks((28, 28, 1), 1, norm=True),
    "mnist_conv_paper": lambda: _two_blocks((28, 28, 1), 1, norm=False),
    "cifar_conv": lambda: _two_blocks((32, 32, 3), 2, norm=True),
    "cifar_conv_paper": lambda: _two_blocks((32, 32, 3), 2, norm=False),
    "lenet": lambda: _lenet(norm=True),
    "lenet_paper": lambda: _lenet(norm=False),
    "nas": lambda: _nas(before=False),
    "nas_paper": lambda: _nas(before=True),
    "vgg16": _vgg16,
    "cifar_multi": _cifar_multi,
}
"""Name of the problem -> its Keras model."""
