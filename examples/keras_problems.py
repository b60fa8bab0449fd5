"""Three models that people have, as optimizees: each function is a `--problem` of both scripts.

    python meta_train.py --problem=examples/keras_problems.py:logistic_regression
    python evaluate.py --problem=examples/keras_problems.py:transformer --optimizer=L2O-DM-CL-IL,Adam

docs/adding-a-problem.md explains them line by line.
"""

import keras
import numpy as np
from keras import layers

from problems import DataOptions, Problem, from_keras
from problems.data.datasets import load

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def logistic_regression(mode="train", data_options=None):
    """Multinomial logistic regression on the embedded 8x8 digits: 650 coordinates."""
    images, labels, _ = load("digits", mode, data_options)
    model = keras.Sequential(
        [keras.Input([8, 8, 1]), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(10, name="logits")]
    )
    return model, CROSS_ENTROPY, (images, labels)


def transformer(mode="train", length: int = 8, width: int = 16) -> Problem:
    """One transformer block that tells sorted from unsorted sequences of 32 tokens: 3,954 coordinates, dropout."""
    tokens = keras.Input([length], dtype="int32")
    hidden = layers.Embedding(32, width, name="tokens")(tokens)
    hidden = Positions(name="positions")(hidden)
    attended = layers.MultiHeadAttention(2, width // 2, dropout=0.1, name="attention")(hidden, hidden)
    hidden = layers.LayerNormalization(name="norm_1")(hidden + attended)
    wide = layers.Dense(4 * width, activation="relu", name="wide")(hidden)
    hidden = layers.LayerNormalization(name="norm_2")(hidden + layers.Dense(width, name="narrow")(wide))
    logits = layers.Dense(2, name="logits")(layers.GlobalAveragePooling1D()(layers.Dropout(0.1)(hidden)))
    model = keras.Model(tokens, logits)
    return from_keras(model, CROSS_ENTROPY, sequences(4096, length, mode), name="sorted", batch_size=64)


def resnet(mode="train", data_options=None, batch_size: int = 64) -> Problem:
    """ResNet-8 on CIFAR-10, which TFDS must have prepared: 77,946 coordinates, batch normalisation."""
    images = keras.Input([32, 32, 3])
    hidden = layers.Rescaling(1 / 127.5, offset=-1)(images)
    hidden = convolution(hidden, 16)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        short = hidden if strides == 1 else layers.Conv2D(filters, 1, strides)(hidden)
        hidden = convolution(convolution(hidden, filters, strides), filters, activation=None)
        hidden = layers.ReLU()(hidden + short)
    model = keras.Model(images, layers.Dense(10, name="logits")(layers.GlobalAveragePooling2D()(hidden)))
    options = data_options or DataOptions()  # what --split and --data_dir say
    data = {"split": options.part(mode), "data_dir": options.data_dir}
    return from_keras(model, CROSS_ENTROPY, "cifar10", **data, batch_size=batch_size)


class Positions(layers.Layer):
    """Adds a learned vector to each place of a sequence `[B, length, width]`."""

    def build(self, input_shape):
        self.vectors = self.add_weight(shape=input_shape[1:], initializer="random_uniform", name="vectors")

    def call(self, inputs):
        return inputs + self.vectors


def convolution(images, filters: int, strides: int = 1, activation: str | None = "relu"):
    """3x3, batch normalisation, activation."""
    hidden = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(images)
    return layers.Activation(activation)(layers.BatchNormalization()(hidden))


def sequences(size: int, length: int, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens, every other row sorted; and which rows are."""
    rng = np.random.default_rng(["train", "test"].index(mode))
    tokens, labels = rng.integers(0, 32, [size, length]), np.arange(size) % 2
    return np.where(labels[:, None], np.sort(tokens), tokens), labels
