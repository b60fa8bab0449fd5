"""What `from_keras` cannot take is refused in one sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from problems import from_keras
from tests.problems import keras_examples as examples
from tests.problems.keras_examples import CROSS_ENTROPY, LABELS, ROWS, TOKENS


def test_an_index_that_an_embedding_does_not_have_is_found_anywhere():
    tokens = np.tile(TOKENS, [75, 1])
    model = examples.sequential(TOKENS, layers.Embedding(6, 3), layers.Flatten(), dtype="int32")
    from_keras(model, CROSS_ENTROPY, (tokens, np.tile(LABELS, 75)))
    tokens[-1, -1] = 6
    with pytest.raises(ValueError, match="cannot look up|is not in"):
        from_keras(model, CROSS_ENTROPY, (tokens, np.tile(LABELS, 75)))


def integers():
    class Counter(layers.Layer):
        def build(self, input_shape):
            self.count = self.add_weight(shape=[], dtype="int32", initializer="zeros", trainable=True, name="count")

        def call(self, inputs):
            return inputs

    return examples.sequential(ROWS, Counter(name="counter"))


def twins():
    inputs = keras.Input([5])
    hidden = layers.Dense(4, name="one")(inputs)
    inner = keras.Sequential([keras.Input([4]), layers.Dense(4, name="one")], name="inner")
    inner.layers[0].kernel._path = "one/kernel"
    return keras.Model(inputs, inner(hidden))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(3)]), "was never built and has no weights yet.*`keras.Input`"),
        (lambda: layers.Dense(3), "Received a Dense as model, expected a keras.Model"),
        (integers, "the parameter 'counter/count' as a tensor of int32 .*, expected a float32"),
        (lambda: keras.Sequential([keras.Input([5]), layers.ReLU()]), "whose `init` returns no parameters"),
        (twins, "two weights 'one/kernel'; give their layers other names"),
    ],
)
def test_models_that_cannot_be_taken(model, message):
    with pytest.raises(ValueError, match=message):
        from_keras(model(), CROSS_ENTROPY, (ROWS, LABELS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0, expected a positive integer"),
        ({"initial": "layer"}, "initial='layer', expected 'layers', 'model' or a standard deviation"),
        ({"batch_size": "8"}, "batch_size='8', expected a positive integer"),
        ({"batch_size": 2.5}, "batch_size=2.5, expected a positive integer"),
        ({"accuracy": "accuracy"}, "accuracy='accuracy', expected a function"),
        ({"accuracy": keras.metrics.SparseCategoricalAccuracy()}, "accuracy=<.*Accuracy.*>, expected a function"),
        ({"accuracy": lambda y, p: y == p}, "whose `measure` raised TypeError"),
        ({"initial": float("inf")}, "initial=inf, expected 'layers'"),
        ({"initial": True}, "initial=True, expected 'layers'"),
        ({"initial": -0.1}, "initial=-0.1, expected 'layers'"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        from_keras(examples.dense()[0], CROSS_ENTROPY, (ROWS, LABELS), **options)


class Noisy(layers.Layer):
    """Noise from wherever `draw` has it."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def call(self, inputs):
        return inputs + self.draw([5])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (keras.random.normal, "draws random numbers from a generator that is none of its own"),
        (tf.random.normal, "whose `loss` gives other numbers .*, expected a pure function"),
    ],
)
def test_noise_that_is_not_the_models_own(draw, message):
    """Else the same seed would not give the same run."""
    with pytest.raises(ValueError, match=message):
        from_keras(examples.sequential(ROWS, Noisy(draw)), CROSS_ENTROPY, (ROWS, LABELS), initial="model")
    own = examples.sequential(ROWS, layers.Dropout(0.5), layers.GaussianNoise(1.0))
    from_keras(own, CROSS_ENTROPY, (ROWS, LABELS), initial="model")


def test_a_model_of_ones_own_finds_that_the_data_do_not_fit():
    model, _ = examples.own()
    with pytest.raises(
        ValueError, match=r"raised ValueError: Input 0 .* have value 5, but received .*keras_examples.py, line"
    ):
        from_keras(model, CROSS_ENTROPY, (ROWS[:, :3], LABELS))
