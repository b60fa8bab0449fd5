"""What counts as a loss, which values it may have, and which labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from problems import from_keras
from problems.base import make_seed
from problems.keras import loss as keras_loss
from tests.problems import keras_examples as examples
from tests.problems.keras_examples import CROSS_ENTROPY, LABELS, ROWS, TOKENS

SEED = make_seed(2)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


def whole(loss, labels, outputs=3, activation=None, **options):
    """The problem's loss on all rows in their order, what the model says, and the problem."""
    model = keras.Sequential([keras.Input([5]), layers.Dense(outputs, activation, name="out")])
    problem = from_keras(model, loss, (ROWS, labels), batch_size=20, **options)
    params, constants = problem.init(SEED)
    batch = problem.sample(SEED, 1)._replace(indices=tf.range(20), seeds=tf.zeros([0, 2], tf.int32))
    for variable, value in zip(model.trainable_variables, params.values(), strict=True):
        variable.assign(value)
    return problem.loss(params, constants, batch), model(ROWS), problem


@pytest.mark.parametrize(
    ("loss", "labels", "outputs", "activation"),
    [
        ("sparse_categorical_crossentropy", LABELS, 3, "softmax"),
        ("SparseCategoricalCrossentropy", LABELS, 3, "softmax"),
        ("categorical_crossentropy", ONE_HOT, 3, "softmax"),
        ("binary_crossentropy", LABELS % 2, 1, "sigmoid"),
        ("mse", ROWS[:, 0], 1, None),
        (keras.losses.Huber, ROWS[:, :1], 1, None),
        (keras.losses.Huber(reduction="none"), ROWS[:, :1], 1, None),
        (lambda y, p: tf.square(y - p), ROWS[:, 0], 1, None),
        (lambda y, p: tf.reduce_mean(tf.square(y - p)), ROWS[:, 0], 1, None),
        (lambda y, p: (y[:, :, None] - p[:, :, None]) ** 2, ONE_HOT, 3, None),
    ],
)
def test_a_loss_is_what_compile_makes_of_it(loss, labels, outputs, activation):
    value, found, _ = whole(loss, labels, outputs, activation)
    judge = keras.Sequential([keras.Input([outputs]), layers.Activation("linear")])
    judge.compile(loss=loss() if isinstance(loss, type) else loss)
    expected = judge.evaluate(found.numpy(), labels, batch_size=20, verbose=0)
    np.testing.assert_allclose(value, np.mean(expected), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "labels", "outputs"),
    [
        (CROSS_ENTROPY, LABELS, 3),
        (keras.losses.CategoricalCrossentropy(from_logits=True), ONE_HOT, 3),
        (keras.losses.BinaryCrossentropy(from_logits=True), LABELS % 2, 1),
    ],
)
def test_accuracy(loss, labels, outputs):
    _, found, problem = whole(loss, labels, outputs)
    right = np.argmax(found, axis=-1) == LABELS if outputs == 3 else (found.numpy()[:, 0] > 0) == labels
    assert 0 < right.mean() < 1
    np.testing.assert_allclose(problem.measure(*problem.init(SEED))["accuracy"], right.mean(), rtol=1e-6)


def test_the_masked_steps_of_sequences_do_not_count():
    """As in Keras, where an Embedding says which tokens are padding."""
    model = examples.sequential(TOKENS, layers.Embedding(6, 3, mask_zero=True), layers.GRU(2, return_sequences=True))
    labels = np.tile(LABELS[:, None], [1, 4])
    problem = from_keras(model, CROSS_ENTROPY, (TOKENS, labels), batch_size=8, initial="model")
    batch = tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(SEED, 1))
    rows = batch.indices.numpy()
    expected = CROSS_ENTROPY(labels[rows], model(TOKENS[rows]))
    np.testing.assert_allclose(problem.loss(*problem.init(SEED), batch), expected, rtol=1e-6)
    assert np.any(TOKENS[rows] == 0)
    answers = np.argmax(model(TOKENS), axis=-1) == labels
    found = problem.measure(*problem.init(SEED))["accuracy"]
    np.testing.assert_allclose(found, answers[TOKENS > 0].mean(), rtol=1e-6)
    assert abs(answers.mean() - answers[TOKENS > 0].mean()) > 1e-3


@pytest.mark.parametrize(
    ("loss", "labels", "message"),
    [
        (lambda y, p: y[:, None] == p, LABELS, "whose `loss` has no gradient in any parameter"),
        ("sparse_crossentropy", LABELS, "loss='sparse_crossentropy', expected the name of a Keras loss"),
        (3, LABELS, "loss=3, expected the name of a Keras loss"),
        (CROSS_ENTROPY, LABELS + 1, "Received a label value of 3 which is outside"),
        (CROSS_ENTROPY, LABELS - 1, "Received a label value of -1 which is outside"),
        (CROSS_ENTROPY, LABELS + 0.5, "labels out of range"),
        (CROSS_ENTROPY, ONE_HOT[:, :2], r"whose `loss` raised .*target.shape=\(20, 2\), output.shape=\(20, 3\)"),
        ("categorical_crossentropy", LABELS, "whose `loss` raised .*same rank"),
        ("categorical_crossentropy", 2 * ONE_HOT, "out of range, 2.0 for one, expected values from 0 to 1; for class"),
        ("binary_crossentropy", ONE_HOT - 1, "out of range, -1.0 for one, expected values from 0 to 1"),
        ("binary_focal_crossentropy", ONE_HOT - 1, "out of range, -1.0 for one, expected values from 0 to 1"),
        (keras.losses.categorical_focal_crossentropy, 2 * ONE_HOT, "out of range, 2.0 for one"),
    ],
)
def test_what_is_refused(loss, labels, message):
    with pytest.raises(ValueError, match=message):
        whole(loss, labels)


def test_a_wrong_label_is_found_anywhere():
    """Neither XLA nor a GPU would tell."""
    model, labels = examples.sequential(ROWS), np.append(np.zeros(99, int), 3)
    with pytest.raises(ValueError, match="labels out of range, 3 for one, expected class numbers from 0 to 2"):
        from_keras(model, CROSS_ENTROPY, (np.tile(ROWS, [5, 1]), labels), batch_size=1)


def test_labels_that_are_to_be_ignored():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    labels = np.where(np.arange(20) < 5, -1, LABELS)
    value, found, _ = whole(loss, labels)
    np.testing.assert_allclose(value, CROSS_ENTROPY(LABELS[5:], found[5:]), rtol=1e-6)


@pytest.mark.parametrize(("labels", "outputs"), [([20, 4], [20, 4, 1]), ([20, 4, 1], [20, 4]), ([20, 1], [20])])
def test_functions_get_the_ranks_that_keras_gives_them(labels, outputs):
    seen, judge = [], keras.Sequential([keras.Input(outputs[1:]), layers.Activation("linear")])
    judge.compile(loss=lambda y, p: seen.append((y.shape[1:], p.shape[1:])) or tf.reduce_sum(p))
    judge.test_on_batch(np.ones(outputs, np.float32), np.ones(labels, np.float32))
    found = keras_loss.resolve(lambda y, p: seen.append((y.shape[1:], p.shape[1:])) or tf.reduce_sum(p))
    found(tf.ones(labels), tf.ones(outputs))
    assert len(set(seen)) == 1 and len(seen) > 1


def test_no_accuracy_where_classes_are_not_last():
    assert keras_loss.accuracy_of(keras.losses.CategoricalFocalCrossentropy(axis=1)) is None
    assert keras_loss.accuracy_of(keras.losses.CategoricalFocalCrossentropy()) is not None
    assert keras_loss.accuracy_of(keras.losses.CategoricalCrossentropy(axis=1)) is None
    assert keras_loss.accuracy_of(keras.losses.CategoricalCrossentropy()) is not None
