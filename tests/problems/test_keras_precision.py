"""`from_keras`: penalties of every kind, and models, statistics and losses that are not float32."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from problems import from_keras
from problems.base import objective_of
from tests.problems import keras_examples as examples
from tests.problems.keras_examples import CROSS_ENTROPY, LABELS, ROWS, SEED, first


class Penalised(keras.Model):
    """Penalties of every kind: of the outputs, of a weight of its own, and one for each example."""

    def __init__(self):
        super().__init__(activity_regularizer="l2")
        self.logits = layers.Dense(3, name="logits", kernel_regularizer="l2")

    def call(self, inputs):
        self.add_loss(0.01 * tf.reduce_sum(inputs**2, axis=-1))
        return self.logits(inputs)


def test_all_penalties_are_in_the_loss():
    model = Penalised()
    model(ROWS[:2])
    problem = from_keras(model, CROSS_ENTROPY, (ROWS, LABELS), batch_size=7)
    params, constants = problem.init(SEED)
    batch = first(problem)
    model.logits.kernel.assign(params["logits/kernel"])
    rows = batch.indices.numpy()
    outputs = model(ROWS[rows])
    expected = CROSS_ENTROPY(LABELS[rows], outputs) + 0.01 * np.sum(ROWS[rows] ** 2)
    expected += 0.01 * (np.sum(outputs.numpy() ** 2) / 7 + np.sum(params["logits/kernel"].numpy() ** 2))
    np.testing.assert_allclose(problem.loss(params, constants, batch), expected, rtol=1e-6)


def test_a_model_of_ones_own_computes_in_its_precision():
    class Half(keras.Model):
        def __init__(self):
            super().__init__(dtype="mixed_bfloat16")
            self.kernel = self.add_weight(shape=[5, 3], name="kernel")

        def call(self, inputs):
            return tf.matmul(inputs, self.kernel)

    model = Half()
    model(ROWS[:2])
    problem = from_keras(model, CROSS_ENTROPY, (ROWS, LABELS), batch_size=7, initial="model")
    batch = first(problem)
    rows = batch.indices.numpy()
    expected = CROSS_ENTROPY(LABELS[rows], model(ROWS[rows], training=True))
    np.testing.assert_array_equal(problem.loss(*problem.init(SEED), batch), expected)


def test_statistics_and_losses_of_another_precision():
    norm = layers.BatchNormalization(dtype="float64", center=False, scale=False)
    loss = keras.losses.MeanSquaredError(dtype="float64")
    model = examples.sequential(ROWS, norm, layers.Dense(4, kernel_regularizer="l2"))
    problem = from_keras(model, loss, (ROWS, np.eye(3)[LABELS]), batch_size=7)
    params, constants = problem.init(SEED)
    assert problem.loss(params, constants, first(problem)).dtype == tf.float32
    assert float(objective_of(problem)(params, constants)) > 0
