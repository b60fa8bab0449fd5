"""Arrays, `tf.data` and TFDS as data of a Keras model."""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from problems import DataError, from_keras
from problems.base import make_seed
from tests.problems import keras_examples as examples
from tests.problems.keras_examples import CROSS_ENTROPY, IMAGES, LABELS, ROWS, TOKENS

SEED = make_seed(3)
PAIRS = tf.data.Dataset.from_tensor_slices((ROWS, LABELS))


def loss_on(dataset, model=None, **options):
    problem = from_keras(model or examples.sequential(ROWS), CROSS_ENTROPY, dataset, batch_size=6, **options)
    batch = tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(SEED, 1))
    return float(problem.loss(*problem.init(SEED), batch)), problem.data


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ((ROWS, LABELS), "arrays"),
        ([ROWS.astype(np.float64), LABELS.astype(np.int64)], "arrays"),
        ((ROWS.tolist(), LABELS.tolist()), "arrays"),
        ((tf.constant(ROWS), tf.constant(LABELS, tf.int32)), "arrays"),
        (PAIRS, "tf.data"),
        (PAIRS.batch(8), "tf.data"),
        (PAIRS.batch(5, drop_remainder=True), "tf.data"),
    ],
)
def test_every_form_is_the_same_data(dataset, name):
    loss, data = loss_on(dataset)
    expected, _ = loss_on((ROWS, LABELS))
    assert loss == expected
    digest = hashlib.sha256(ROWS.tobytes() + LABELS.astype("<i4").tobytes()).hexdigest()[:16]
    assert data == (name, "all", 20, digest)


def test_a_name():
    assert loss_on((ROWS, LABELS), name="mine")[1].name == "mine"


def test_images_stay_bytes_and_indices_integers():
    """A model of one's own declares no inputs: bytes become numbers there, integers remain."""

    class Mixed(keras.Model):
        def __init__(self):
            super().__init__()
            self.embed, self.out, self.flat = layers.Embedding(6, 3), layers.Dense(3), layers.Flatten()

        def call(self, inputs):
            images, tokens = inputs
            assert (images.dtype, tokens.dtype) == (tf.float32, tf.int32)
            return self.out(tf.concat([self.flat(images) / 255, self.flat(self.embed(tokens))], axis=-1))

    model = Mixed()
    model((IMAGES.astype(np.float32), TOKENS.astype(np.int32)))
    assert np.isfinite(loss_on(((IMAGES, TOKENS), LABELS), model)[0])


def test_the_data_are_not_copied_from_step_to_step():
    """They are inputs of the compiled step and no constants in it."""
    images = np.zeros([5000, 5], np.float32)
    problem = from_keras(examples.sequential(ROWS), CROSS_ENTROPY, (images, np.zeros(5000, int)))
    params, constants = problem.init(SEED)
    batch = tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(SEED, 1))
    graph = tf.function(problem.loss, autograph=False).get_concrete_function(params, constants, batch).graph
    assert graph.as_graph_def().ByteSize() < 50_000
    assert [5000, 5] in [list(tensor.shape) for tensor, _ in graph.captures]


def test_inputs_by_name_have_their_own_ranks():
    """The first in the alphabet is not the model's first."""
    images, rows = keras.Input([6, 6, 1], name="z"), keras.Input([5], name="a")
    both = layers.Concatenate()([layers.Flatten()(images), rows])
    model = keras.Model([images, rows], layers.Dense(3)(both))
    pairs = tf.data.Dataset.from_tensor_slices(({"z": IMAGES, "a": ROWS}, LABELS))
    losses = [loss_on(data, model)[0] for data in (pairs, pairs.batch(7), ({"z": IMAGES, "a": ROWS}, LABELS))]
    assert losses[0] == losses[1] == losses[2]


def test_a_model_that_declares_no_inputs_wants_batches():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.embed, self.out = layers.Embedding(6, 2), layers.Dense(6)

        def call(self, tokens):
            return self.out(self.embed(tokens))

    model = Own()
    model(TOKENS)
    pairs = tf.data.Dataset.from_tensor_slices((TOKENS, TOKENS))
    with pytest.raises(ValueError, match="which may be examples or batches"):
        loss_on(pairs, model)
    assert loss_on(pairs.batch(6), model)[1].size == len(TOKENS)


def broken():
    yield ROWS[0], 1
    raise RuntimeError("no more")


BROKEN = tf.data.Dataset.from_generator(broken, output_signature=(tf.TensorSpec([5]), tf.TensorSpec([], tf.int32)))
RAGGED = tf.data.Dataset.from_generator(
    lambda: [(np.zeros([2, n], np.float32), [0, 1]) for n in (5, 4)],
    output_signature=(tf.TensorSpec([None, None]), tf.TensorSpec([None], tf.int32)),
)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (BROKEN, "cannot be read as examples of one shape: .*no more"),
        (RAGGED, "cannot be read as examples of one shape: .*dimension"),
        ((ROWS[:0], LABELS[:0]), "expected as many labels as examples, at least 1"),
        (PAIRS.take(0), "expected as many labels as examples, at least 1"),
        (PAIRS.repeat(), "without end, expected a finite one"),
        ((ROWS, LABELS[:7]), r"x \[20, 5\] and y \[7\], expected as many labels as examples"),
        (
            (ROWS[:, :4], LABELS),
            r"raised .*expected axis -1 of input shape to have value 5, but received .* shape \(\d+, 4\)",
        ),
        ((IMAGES, LABELS), r"Invalid input shape; expected shape \(None, 5\), but .* shape \(\d+, 6, 6, 1\)"),
        (((ROWS, ROWS), LABELS), "whose `loss` raised .*inputs"),
        (
            tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)),
            r"expected shape \(None, 5\), but .* shape \(\d+, 6, 6, 1\)",
        ),
        (tf.data.Dataset.from_tensor_slices(ROWS), "expected one of pairs"),
        ((np.array(["a"] * 20), LABELS), "x of <U1 and shape .*, expected rows of numbers"),
        (([[1.0], [1.0, 2.0]], LABELS), "x that is no array"),
        ((3.0, LABELS), r"x of float64 and shape \[\], expected rows of numbers"),
        ((ROWS, {"a": LABELS}), "y of object and shape .*, expected rows of numbers"),
        ((ROWS, LABELS + 2**40), "y with integers beyond 32 bits"),
        (
            (np.where(np.arange(20)[:, None] == 7, np.nan, ROWS), LABELS),
            "x with values that are missing or infinite, .* in row 7",
        ),
        ((ROWS, np.where(LABELS == 0, np.inf, LABELS)), "y with values that are missing or infinite"),
        ((ROWS, LABELS, LABELS), "a data set of 3 entries, expected arrays"),
        (ROWS, "a data set of ndarray, expected arrays"),
    ],
)
def test_data_that_cannot_be_taken(dataset, message):
    with pytest.raises(ValueError, match=message):
        loss_on(dataset)


def flat(shape):
    return keras.Sequential([keras.Input(shape), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(10)])


class TestTFDS:
    def test_mnist(self, tfds_dir):
        loss, data = loss_on("mnist", flat([28, 28, 1]), split="test[:50]", data_dir=str(tfds_dir))
        assert data[:3] == ("mnist", "test[:50]", 50)
        assert data == loss_on("mnist", flat([28, 28, 1]), split="test[:50]", data_dir=str(tfds_dir))[1]
        assert 1.5 < loss < 4

    def test_what_is_not_there(self, no_tfds):
        with pytest.raises(
            DataError, match=r"'mnist' \(split 'train'\), which is not prepared in .*tfds.load\('mnist'"
        ):
            loss_on("mnist", flat([28, 28, 1]))
        with pytest.raises(DataError, match="'no_such_data' .*which TFDS cannot read"):
            loss_on("no_such_data")
