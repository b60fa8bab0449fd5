"""Analytic optimizers against those of Keras, in float64 and with large epsilons, so that none can hide."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers.analytic import ANALYTIC, adagrad, adam, momentum, nag, rmsprop, sgd
from l2o_tf.optimizers.base import Step
from problems.base import make_seed

SEED = make_seed(0)

STEPS = 100
LR = 2.0**-6
"""Keras rounds hyper-parameters to float32, whatever the dtype of the variables; dyadic numbers are exact there."""


def keras_rmsprop(**options):
    return keras.optimizers.RMSprop(learning_rate=LR, **options)


# name: (ours, Keras's with the same hyper-parameters)
PAIRS = {
    "sgd": (sgd(LR), lambda: keras.optimizers.SGD(LR)),
    "momentum": (momentum(LR, 0.875), lambda: keras.optimizers.SGD(LR, momentum=0.875)),
    "momentum_0.5": (momentum(LR, 0.5), lambda: keras.optimizers.SGD(LR, momentum=0.5)),
    "nag": (nag(LR, 0.875), lambda: keras.optimizers.SGD(LR, momentum=0.875, nesterov=True)),
    "adam": (
        adam(LR, beta_1=0.875, beta_2=1.0 - 2.0**-10),
        lambda: keras.optimizers.Adam(LR, beta_1=0.875, beta_2=1.0 - 2.0**-10, epsilon=1e-8),
    ),
    "adam_all": (
        adam(LR, beta_1=0.5, beta_2=0.75, epsilon=1e-2),
        lambda: keras.optimizers.Adam(LR, beta_1=0.5, beta_2=0.75, epsilon=1e-2),
    ),
    "rmsprop": (
        rmsprop(LR, epsilon=1e-7, initial_mean_square=0.0),
        lambda: keras_rmsprop(rho=0.9, epsilon=1e-7),
    ),
    "rmsprop_all": (
        rmsprop(LR, rho=0.8, momentum=0.7, epsilon=1e-2, initial_mean_square=0.0),
        lambda: keras_rmsprop(rho=0.8, momentum=0.7, epsilon=1e-2),
    ),
    "adagrad": (
        adagrad(LR, initial_accumulator=0.125),
        lambda: keras.optimizers.Adagrad(LR, initial_accumulator_value=0.125, epsilon=0.0),
    ),
    "adagrad_all": (
        adagrad(LR, initial_accumulator=0.5, epsilon=1e-2),
        lambda: keras.optimizers.Adagrad(LR, initial_accumulator_value=0.5, epsilon=1e-2),
    ),
}


def problem(dtype=np.float64):
    """Start `{"w": [3, 2], "b": [2]}` and gradients of very different sizes, `[STEPS, ...]` each."""
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=[3, 2]), "b": rng.normal(size=[2])}
    scale = np.exp(rng.uniform(-8.0, 2.0, size=[STEPS, 1]))
    grads = {"w": rng.normal(size=[STEPS, 3, 2]) * scale[:, :, None], "b": rng.normal(size=[STEPS, 2]) * scale}
    return tuple({name: value.astype(dtype) for name, value in nest.items()} for nest in (params, grads))


def run(optimizer, params, grads):
    """All iterates `[STEPS, ...]`, from one compiled loop."""

    @tf.function
    def loop(params, grads):
        state = optimizer.initial_state(params, SEED)
        arrays = {name: tf.TensorArray(value.dtype, STEPS, element_shape=value.shape) for name, value in params.items()}
        for t in tf.range(STEPS):
            updates, state = optimizer.update(Step({name: value[t] for name, value in grads.items()}, params), state)
            params = {name: value + updates[name] for name, value in params.items()}
            arrays = {name: array.write(t, params[name]) for name, array in arrays.items()}
        return {name: array.stack() for name, array in arrays.items()}

    iterates = loop(*({name: tf.constant(value) for name, value in nest.items()} for nest in (params, grads)))
    return {name: value.numpy() for name, value in iterates.items()}


@pytest.mark.parametrize("name", PAIRS)
def test_follows_keras(name):
    ours, make_keras = PAIRS[name]
    params, grads = problem()
    iterates = run(ours, params, grads)
    variables = {key: tf.Variable(value) for key, value in params.items()}
    theirs = make_keras()
    for t in range(STEPS):
        theirs.apply([tf.constant(grads[key][t]) for key in variables], list(variables.values()))
        for key, variable in variables.items():
            np.testing.assert_allclose(iterates[key][t], variable.numpy(), rtol=1e-11, atol=1e-12, err_msg=f"step {t}")


# name: the first two updates of Δ(g = 0.5), by hand from the documented defaults.
G = 0.5
FIRST_TWO = {
    "sgd": [-0.01 * G, -0.01 * G],
    "momentum": [-0.01 * G, -0.01 * G * 1.9],
    "nag": [-0.01 * G * 1.9, -0.01 * G * (1.9 * 0.9 + 1.0)],
    "adam": [-0.01 * G / (G + 1e-8 / np.sqrt(c)) for c in (1.0 - 0.999, 1.0 - 0.999**2)],
    "rmsprop": [-0.01 * G / np.sqrt(0.9 + 0.1 * G**2), -0.01 * G / np.sqrt(0.81 + 0.19 * G**2)],
    "adagrad": [-0.01 * G / np.sqrt(0.1 + G**2), -0.01 * G / np.sqrt(0.1 + 2.0 * G**2)],
}


@pytest.mark.parametrize("name", ANALYTIC)
def test_defaults_are_those_of_the_teachers(name):
    params, grads, optimizer = {"x": tf.ones([1], tf.float64)}, {"x": tf.fill([1], np.float64(G))}, ANALYTIC[name]()
    first, state = optimizer.update(Step(grads, params), optimizer.initial_state(params, SEED))
    second, _ = optimizer.update(Step(grads, params), state)
    np.testing.assert_allclose([first["x"][0], second["x"][0]], FIRST_TWO[name], rtol=1e-10)


@pytest.mark.parametrize("name", ANALYTIC)
class TestEveryOptimizer:
    """What holds for all that is registered, with the default hyper-parameters."""

    def test_one_vector_gives_the_same_updates(self, name):
        params, grads = problem()
        tensors = run(ANALYTIC[name](), params, grads)
        vector = run(
            ANALYTIC[name](),
            {"theta": np.concatenate([value.ravel() for value in params.values()])},
            {"theta": np.concatenate([value.reshape(STEPS, -1) for value in grads.values()], axis=1)},
        )
        joined = np.concatenate([value.reshape(STEPS, -1) for value in tensors.values()], axis=1)
        np.testing.assert_allclose(vector["theta"], joined, rtol=1e-13)

    def test_dtype_and_order_follow_the_parameters(self, name):
        params = {"z": tf.ones([2], tf.float64), "a": tf.ones([], tf.float32)}
        optimizer = ANALYTIC[name]()
        assert optimizer.name == name
        assert optimizer.trainable_variables == []
        state = optimizer.initial_state(params, SEED)
        updates, new_state = optimizer.update(Step(dict(reversed(params.items())), params), state)
        assert {key: value.dtype for key, value in updates.items()} == {key: v.dtype for key, v in params.items()}
        assert list(updates) == list(params)
        tf.nest.assert_same_structure(state, new_state)
        for old, new in zip(tf.nest.flatten(state), tf.nest.flatten(new_state), strict=True):
            assert (old.shape, old.dtype) == (new.shape, new.dtype)

    def test_zero_gradient_gives_zero_update(self, name):
        params = {"x": tf.constant([1.0])}
        zero = {"epsilon": 0.0} if name in ("adam", "rmsprop", "adagrad") else {}
        optimizer = ANALYTIC[name](**zero)
        updates, _ = optimizer.update(Step({"x": tf.zeros([1])}, params), optimizer.initial_state(params, SEED))
        assert updates["x"].numpy() == [0.0]

    @pytest.mark.parametrize("learning_rate", [0.0, -1.0, float("nan"), float("inf")])
    def test_learning_rate_out_of_range(self, name, learning_rate):
        with pytest.raises(ValueError, match="learning_rate=.*expected a positive number"):
            ANALYTIC[name](learning_rate=learning_rate)


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (momentum, {"momentum": 1.0}),
        (nag, {"momentum": -0.1}),
        (adam, {"beta_1": 1.0}),
        (adam, {"beta_2": 1.5}),
        (adam, {"epsilon": -1e-8}),
        (rmsprop, {"rho": 1.0}),
        (rmsprop, {"initial_mean_square": -1.0}),
        (adagrad, {"initial_accumulator": float("nan")}),
    ],
)
def test_hyper_parameters_out_of_range(factory, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}=.*expected"):
        factory(**options)
