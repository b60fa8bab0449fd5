"""Small Keras models and data for the tests of `problems.keras_*`."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from problems.base import make_seed

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, [20, 6, 6, 1]).astype(np.uint8)
ROWS = RNG.normal(size=[20, 5]).astype(np.float32)
TOKENS = RNG.integers(0, 6, [20, 4])
LABELS = RNG.integers(0, 3, 20)
SEED = make_seed(4)


def first(problem, steps=1):
    """The first minibatch of a run."""
    return tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(SEED, steps))


def sequential(inputs, *stack, dtype="float32"):
    return keras.Sequential([keras.Input(inputs.shape[1:], dtype=dtype), *stack, layers.Dense(3, name="logits")])


def dense():
    regular = {"kernel_regularizer": "l2", "activity_regularizer": keras.regularizers.L1(0.01)}
    return sequential(ROWS, layers.Dense(4, "tanh", name="hidden", **regular)), ROWS


def conv():
    convolution = layers.Conv2D(2, 3, strides=2, name="conv")
    return sequential(IMAGES, layers.Rescaling(1 / 255), convolution, layers.ReLU(), layers.Flatten()), IMAGES


def batch_norm():
    return sequential(ROWS, layers.Dense(4, name="hidden"), layers.BatchNormalization(name="norm")), ROWS


def layer_norm():
    return sequential(ROWS, layers.LayerNormalization(name="norm"), layers.Dense(4, "relu", name="hidden")), ROWS


def embedding():
    return sequential(TOKENS, layers.Embedding(6, 3, name="tokens"), layers.Flatten(), dtype="int32"), TOKENS


def dropout():
    return sequential(ROWS, layers.Dense(8, name="hidden"), layers.Dropout(0.5), layers.Dropout(0.5)), ROWS


def attention():
    tokens = keras.Input([4], dtype="int32")
    hidden = layers.Embedding(6, 4, name="tokens")(tokens)
    hidden += layers.MultiHeadAttention(2, 3, name="attention")(hidden, hidden)
    return keras.Model(tokens, layers.Dense(3, name="logits")(layers.GlobalAveragePooling1D()(hidden))), TOKENS


def gru():
    stack = (layers.Embedding(6, 3, mask_zero=True, name="tokens"), layers.GRU(4, name="gru"))
    return sequential(TOKENS, *stack, dtype="int32"), TOKENS


class Own(keras.Model):
    """A subclassed model that could not be made from its configuration, with a layer that could not, either."""

    def __init__(self, units):
        super().__init__()
        self.block = Block(units)
        self.logits = layers.Dense(3)

    def call(self, inputs):
        return self.logits(self.block(inputs))


class Block(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.inner = layers.Dense(units)

    def call(self, inputs):
        return self.inner(inputs)


def own():
    model = Own(4)
    model(ROWS)
    return model, ROWS


MODELS = (dense, conv, batch_norm, layer_norm, embedding, dropout, attention, gru, own)
