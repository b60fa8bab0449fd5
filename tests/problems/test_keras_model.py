"""`from_keras`: values, gradients, state and measurements against what Keras itself computes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers import make_optimizer
from l2o_tf.unrolling import unroll
from problems import from_keras
from problems.base import make_seed, objective_of
from problems.keras.model import Minibatch
from tests import contracts
from tests.problems import keras_examples as examples
from tests.problems.keras_examples import CROSS_ENTROPY, LABELS, ROWS, SEED, TOKENS, first


def states_of_seeds(model):
    """The variables of a model that are neither weights nor metrics."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.non_trainable_variables if id(variable) not in weights]


def by_keras(model, params, batch, x, y, loss=CROSS_ENTROPY):
    """Loss and gradients as `train_on_batch` computes them, with the model's own variables."""
    for variable, value in zip(model.trainable_variables, params.values(), strict=True):
        variable.assign(value)
    for variable, seed in zip(states_of_seeds(model), batch.seeds, strict=True):
        variable.assign(tf.cast(seed, variable.dtype))
    with tf.GradientTape() as tape:
        value = loss(y[batch.indices], model(x[batch.indices], training=True)) + sum(model.losses)
    return value, [tf.convert_to_tensor(g) for g in tape.gradient(value, model.trainable_variables)]


@pytest.mark.parametrize("make", examples.MODELS)
def test_values_and_gradients_are_those_of_keras(make):
    model, x = make()
    problem = from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=7)
    params, constants = problem.init(SEED)
    batch = first(problem)
    assert [value.shape for value in params.values()] == [v.shape for v in model.trainable_variables]
    before = [variable.numpy() for variable in model.variables]
    loss, grads = unroll.value_and_grad(lambda p, b: problem.loss(p, constants, b))(params, batch)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=f"{variable.path} was changed")
    expected, expected_grads = by_keras(model, params, batch, x, LABELS)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for name, theirs in zip(params, expected_grads, strict=True):
        np.testing.assert_allclose(grads[name], theirs, rtol=1e-5, atol=1e-7, err_msg=name)


def everything(sequence: bool):
    """Layers of most kinds in one model each for numbers and tokens, without randomness."""
    if not sequence:
        stack = (layers.Rescaling(1 / 255), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten())
        return examples.sequential(examples.IMAGES, *stack), examples.IMAGES
    tokens = keras.Input([4], dtype="int32")
    hidden = layers.Embedding(6, 4)(tokens)
    hidden = layers.LayerNormalization()(hidden + layers.MultiHeadAttention(2, 3)(hidden, hidden))
    return keras.Model(tokens, layers.Dense(3)(layers.GRU(3)(hidden))), TOKENS


@pytest.mark.parametrize("sequence", [False, True])
def test_the_contract_with_xla_and_without(sequence):
    model, x = everything(sequence)
    contracts.check_problem(from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=8))


def test_a_compiled_unroll_with_dropout_is_traced_once():
    model, x = examples.dropout()
    problem = from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=8)
    student = make_optimizer("L2O-DM", {"layers": [2]})
    params, constants = problem.init(SEED)
    window = tf.function(
        lambda state, batches: unroll.unroll(lambda p, b: problem.loss(p, constants, b), student, state, batches),
        jit_compile=True,
        autograph=False,
    )
    state = unroll.initial_state(student, params, SEED)
    for seed in (1, 2):
        state, trajectory = window(state, problem.sample(make_seed(seed), 4))
        assert np.isfinite(trajectory.losses).all()
    assert window.experimental_get_tracing_count() == 1


def test_names_and_order():
    model, x = examples.gru()
    params, _ = from_keras(model, CROSS_ENTROPY, (x, LABELS)).init(SEED)
    cell = [f"gru/gru_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")]
    assert list(params) == ["tokens/embeddings", *cell, "logits/kernel", "logits/bias"]


def test_frozen_layers_and_statistics_are_constants():
    model, x = examples.batch_norm()
    model.get_layer("hidden").trainable = False
    model.get_layer("norm").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    problem = from_keras(model, CROSS_ENTROPY, (x, LABELS))
    (params, constants), (_, others) = problem.init(SEED), problem.init(make_seed(5))
    assert list(params) == ["norm/gamma", "norm/beta", "logits/kernel", "logits/bias"]
    assert set(constants) == {"hidden/kernel", "hidden/bias", "norm/moving_mean", "norm/moving_variance"}
    np.testing.assert_array_equal(constants["hidden/kernel"], model.get_layer("hidden").kernel)
    np.testing.assert_array_equal(constants["norm/moving_mean"], [1, 2, 3, 4])
    tf.nest.map_structure(np.testing.assert_array_equal, constants, others)
    model.get_layer("norm").moving_mean.assign([0.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(problem.init(SEED)[1]["norm/moving_mean"], [1, 2, 3, 4])


class TestDropout:
    def test_it_differs_from_step_to_step_and_comes_back(self):
        model, x = examples.dropout()
        problem = from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=8)
        params, constants = problem.init(SEED)
        indices, seeds = problem.sample(SEED, 3)
        assert seeds.shape == [3, 2, 2]
        assert len({tuple(row) for row in seeds.numpy().reshape(-1, 2)}) == 6
        losses = [float(problem.loss(params, constants, Minibatch(indices[0], seed))) for seed in (*seeds, seeds[0])]
        assert len(set(losses)) == 3
        assert losses[0] == losses[3]

    def test_it_has_random_numbers_of_its_own(self):
        """From one stream of bits, half of them would be each other's remainders."""
        model, x = examples.dropout()
        indices, seeds = from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=4).sample(SEED, 100)
        assert np.mean(seeds.numpy().ravel() % len(x) == indices.numpy().ravel()) < 0.4

    def test_a_measurement_has_none(self):
        model, x = examples.dropout()
        problem = from_keras(model, CROSS_ENTROPY, (x, LABELS))
        params, constants = problem.init(SEED)
        for variable, value in zip(model.trainable_variables, params.values(), strict=True):
            variable.assign(value)
        outputs = model(x, training=False)
        measured = problem.measure(params, constants)
        np.testing.assert_allclose(measured["loss"], CROSS_ENTROPY(LABELS, outputs), rtol=1e-6)
        np.testing.assert_allclose(measured["accuracy"], np.mean(np.argmax(outputs, axis=-1) == LABELS), rtol=1e-6)


class TestEvaluate:
    @pytest.mark.parametrize("batch_size", [7, 10, 64])
    def test_all_rows_count_alike(self, batch_size):
        model, x = examples.layer_norm()
        problem = from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=batch_size)
        params, constants = problem.init(SEED)
        expected, _ = by_keras(model, params, Minibatch(np.arange(20), []), x, LABELS)
        np.testing.assert_allclose(problem.measure(params, constants)["loss"], expected, rtol=1e-6)

    def test_batch_normalisation_takes_the_statistics_of_the_minibatches(self):
        model, x = examples.batch_norm()
        problem = from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=8)
        params, constants = problem.init(SEED)
        params |= {"hidden/bias": tf.constant([3.0, -2.0, 1.0, 0.0]), "norm/gamma": tf.constant([1.0, 2.0, 3.0, 4.0])}
        for variable, value in zip(model.trainable_variables, params.values(), strict=True):
            variable.assign(value)
        hidden = model.get_layer("hidden")(x).numpy().astype(np.float64)
        pieces, sizes = (hidden[:8], hidden[8:16], hidden[16:]), (8, 8, 4)
        norm = model.get_layer("norm")
        norm.moving_mean.assign(np.average([piece.mean(axis=0) for piece in pieces], axis=0, weights=sizes))
        norm.moving_variance.assign(np.average([piece.var(axis=0) for piece in pieces], axis=0, weights=sizes))
        expected = CROSS_ENTROPY(LABELS, model(x, training=False))
        np.testing.assert_allclose(problem.measure(params, constants)["loss"], expected, rtol=1e-5)

    def test_it_can_be_compiled_and_differentiated(self):
        """As a judge of a meta-training does, and over many runs as an evaluation does."""
        model, x = examples.batch_norm()
        problem = from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=8)
        params, constants = problem.init(SEED)
        judge = unroll.value_and_grad(lambda p, _: objective_of(problem)(p, constants))
        (loss, grads), (again, others) = judge(params, ()), tf.function(judge, autograph=False)(params, ())
        np.testing.assert_allclose(again, loss, rtol=1e-6)
        for name in params:
            np.testing.assert_allclose(others[name], grads[name], rtol=1e-4, atol=1e-6)
        run = rollouts.run(problem, make_optimizer("adam"), SEED, num_runs=2, num_steps=4, window=2, full_period=4)
        assert run.full["loss"].shape == (2, 1) and np.isfinite(run.full["loss"]).all()

    def test_frozen_batch_normalisation_keeps_its_statistics(self):
        model, x = examples.batch_norm()
        model.get_layer("norm").trainable = False
        problem = from_keras(model, CROSS_ENTROPY, (x, LABELS), initial="model")
        expected = CROSS_ENTROPY(LABELS, model(x, training=False))
        np.testing.assert_allclose(problem.measure(*problem.init(SEED))["loss"], expected, rtol=1e-6)

    def test_what_is_called_with_training_false_keeps_its_statistics(self):
        """As a model does that somebody else has trained, and whose last layer alone learns."""

        class FineTuned(keras.Model):
            def __init__(self, base):
                super().__init__()
                self.base, self.out = base, layers.Dense(3)

            def call(self, inputs, training=None):
                del training
                return self.out(self.base(inputs, training=False))

        norm = layers.BatchNormalization()
        model = FineTuned(keras.Sequential([keras.Input([5]), layers.Dense(4), norm]))
        expected = CROSS_ENTROPY(LABELS, model(ROWS))
        norm.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
        norm.moving_variance.assign([4.0, 3.0, 2.0, 1.0])
        assert CROSS_ENTROPY(LABELS, model(ROWS)) != expected
        problem = from_keras(model, CROSS_ENTROPY, (ROWS, LABELS), batch_size=8, initial="model")
        found = problem.measure(*problem.init(SEED))["loss"]
        np.testing.assert_allclose(found, CROSS_ENTROPY(LABELS, model(ROWS)), rtol=1e-5)

    @pytest.mark.parametrize("batch_size", [5, 8, 32])
    def test_a_sum_is_that_of_a_minibatch(self, batch_size):
        """Of rows that are all alike every minibatch has the same loss, and so have all rows."""
        model = keras.Sequential([keras.Input([5]), layers.Dense(1)])
        data = (np.tile(ROWS[:1], [20, 1]), np.full([20, 1], 7.0, np.float32))
        problem = from_keras(model, keras.losses.MeanSquaredError(reduction="sum"), data, batch_size=batch_size)
        params, constants = problem.init(SEED)
        batch = tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(SEED, 1))
        expected = problem.loss(params, constants, batch)
        np.testing.assert_allclose(objective_of(problem)(params, constants), expected, rtol=1e-6)

    def test_regression_has_an_objective(self):
        model = keras.Sequential([keras.Input([5]), layers.Dense(1, name="out")])
        y = ROWS.sum(axis=1)
        problem = from_keras(model, "mse", (ROWS, y), batch_size=8)
        params, constants = problem.init(SEED)
        assert problem.measure(params, constants)["accuracy"] is None
        expected = np.mean(((ROWS @ params["out/kernel"].numpy())[:, 0] - y) ** 2)
        np.testing.assert_allclose(objective_of(problem)(params, constants), expected, rtol=1e-5)

    def test_an_accuracy_of_the_users_own(self):
        model = keras.Sequential([keras.Input([5]), layers.Dense(1)])
        near = lambda labels, outputs: tf.abs(outputs[:, 0] - labels) < 1e9  # noqa: E731
        problem = from_keras(model, "mse", (ROWS, ROWS.sum(axis=1)), accuracy=near)
        assert problem.measure(*problem.init(SEED))["accuracy"] == 1.0


def test_several_inputs_by_order_and_by_name():
    left, right = keras.Input([5], name="left"), keras.Input([4], name="right", dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(6, 2)(right))
    model = keras.Model([left, right], layers.Dense(3)(layers.Concatenate()([left, embedded])))
    losses = []
    for x in ((ROWS, TOKENS), {"left": ROWS, "right": TOKENS}):
        problem = from_keras(model, CROSS_ENTROPY, (x, LABELS), batch_size=6)
        losses.append(float(problem.loss(*problem.init(SEED), first(problem))))
    assert losses[0] == losses[1]


def test_mixed_precision():
    """Weights are float32 and so is the loss, whatever the layers compute in."""
    stack = layers.Dense(4, kernel_regularizer="l2", activity_regularizer="l2", dtype="mixed_bfloat16")
    problem = from_keras(examples.sequential(ROWS, stack), CROSS_ENTROPY, (ROWS, LABELS))
    params, constants = problem.init(SEED)
    loss, grads = unroll.value_and_grad(lambda p, b: problem.loss(p, constants, b))(params, first(problem))
    assert {each.dtype for each in (loss, *grads.values())} == {tf.float32}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_and_a_function(policy):
    """A nameless one, even: the outputs come to it as float32, in Keras and here."""
    problem = from_keras(
        examples.sequential(ROWS, layers.Dense(4, dtype=policy), layers.Dense(3, dtype=policy)),
        lambda labels, outputs: tf.reduce_mean((tf.one_hot(tf.cast(labels, tf.int32), 3) - outputs) ** 2, -1),
        (ROWS, LABELS),
    )
    assert problem.loss(*problem.init(SEED), first(problem)).dtype == tf.float32


def test_whoever_knows_better_says_whether_xla_may_compile_it():
    given = (*examples.conv(), LABELS)
    assert [from_keras(given[0], CROSS_ENTROPY, given[1:], xla=xla).xla for xla in (None, True)] == [False, True]
