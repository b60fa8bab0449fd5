"""Starting points that are drawn by the layers' own initialisers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from problems import from_keras
from problems.base import make_seed
from tests.problems import keras_examples as examples
from tests.problems.keras_examples import CROSS_ENTROPY, LABELS, ROWS, TOKENS

SEED = make_seed(1)


def start_of(*stack, **options):
    problem = from_keras(examples.sequential(ROWS, *stack), CROSS_ENTROPY, (ROWS, LABELS), **options)
    return lambda seed: problem.init(seed)[0]


def test_each_layer_draws_as_it_says():
    normal = keras.initializers.RandomNormal(2.0, 0.5)
    params = start_of(
        layers.Dense(400, kernel_initializer="he_uniform", bias_initializer=normal, name="a"),
        layers.Dense(400, kernel_initializer="orthogonal", bias_initializer=keras.initializers.Constant(7), name="b"),
        layers.BatchNormalization(name="c"),
    )(SEED)
    bound = np.sqrt(6 / 5)
    kernel, bias, square = (params[name].numpy() for name in ("a/kernel", "a/bias", "b/kernel"))
    assert 0.98 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.05)
    np.testing.assert_allclose([bias.mean(), bias.std()], [2, 0.5], rtol=0.1)
    np.testing.assert_allclose(square @ square.T, np.eye(400), atol=1e-4)
    assert set(params["b/bias"].numpy()) == {7}
    assert set(params["c/gamma"].numpy()) == {1}


def test_a_run_is_a_function_of_its_seed():
    """Whatever seeds the initialisers were given; compiled or not; and no two layers draw the same."""
    fixed = {"kernel_initializer": keras.initializers.GlorotUniform(seed=3)}
    start = start_of(layers.Dense(5, name="a", **fixed), layers.Dense(5, name="b", **fixed))
    params, again, other = start(SEED), tf.function(start, autograph=False)(SEED), start(make_seed(2))
    for name in ("a/kernel", "b/kernel", "logits/kernel"):
        np.testing.assert_array_equal(params[name], again[name])
        assert not np.any(params[name].numpy() == other[name].numpy())
    assert not np.any(params["a/kernel"].numpy() == params["b/kernel"].numpy())


def test_runs_are_independent():
    start = tf.function(start_of(layers.Dense(8, name="a")), autograph=False)
    draws = np.stack([start(make_seed(run))["a/kernel"].numpy().ravel() for run in range(200)])
    bound = np.sqrt(6 / 13)
    np.testing.assert_allclose(draws.mean(), 0, atol=0.02)
    np.testing.assert_allclose(draws.std(axis=0), bound / np.sqrt(3), rtol=0.25)
    assert np.abs(np.corrcoef(draws.T) - np.eye(40)).max() < 0.35
    assert np.abs(np.corrcoef(draws) - np.eye(200)).max() < 0.75


def test_layers_inside_layers():
    """An LSTM adds ones to its own initialiser of the bias; both ways of a Bidirectional draw anew."""
    normal = keras.initializers.RandomNormal(0, 0.1)
    stack = (layers.Embedding(6, 3), layers.Bidirectional(layers.LSTM(4, bias_initializer=normal)))
    model = examples.sequential(TOKENS, *stack, dtype="int32")
    init = from_keras(model, CROSS_ENTROPY, (TOKENS, LABELS)).init
    biases = [
        value.numpy() for seed in (1, 2) for name, value in init(make_seed(seed))[0].items() if "cell/bias" in name
    ]
    assert all(set(bias[4:8]) == {1} for bias in biases)
    rest = [tuple(np.delete(bias, range(4, 8))) for bias in biases]
    assert len(set(rest)) == 4
    assert all(0.02 < np.std(each) < 0.2 for each in rest)


def test_a_shared_layer_and_a_model_in_a_model():
    inputs, shared = keras.Input([5]), layers.Dense(5, name="shared")
    inner = keras.Sequential([keras.Input([5]), layers.Dense(5, name="deep")], name="inner")
    model = keras.Model(inputs, layers.Dense(3, name="top")(inner(shared(shared(inputs)))))
    params, _ = from_keras(model, CROSS_ENTROPY, (ROWS, LABELS)).init(SEED)
    assert list(params) == [
        *("shared/kernel", "shared/bias", "inner/deep/kernel", "inner/deep/bias", "top/kernel", "top/bias")
    ]
    assert np.ptp(params["inner/deep/kernel"]) > 0


def test_a_standard_deviation():
    params = start_of(layers.Dense(100, name="a"), initial=0.03)(SEED)
    assert {name: np.round(value.numpy().std(), 2) for name, value in params.items() if "kernel" in name} == {
        "a/kernel": 0.03,
        "logits/kernel": 0.03,
    }
    np.testing.assert_allclose(params["a/bias"].numpy().std(), 0.03, rtol=0.3)
    assert set(start_of(initial=0)(SEED)["logits/kernel"].numpy().ravel()) == {0}


def test_the_model_as_it_is():
    model = examples.sequential(ROWS)
    start = from_keras(model, CROSS_ENTROPY, (ROWS, LABELS), initial="model").init
    before = model.weights[0].numpy()
    model.weights[0].assign(np.zeros([5, 3]))
    for seed in (1, 2):
        np.testing.assert_array_equal(start(make_seed(seed))[0]["logits/kernel"], before)


class Doubled(keras.Initializer):
    """Somebody's own initialiser, which draws from the seed that it has."""

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        return 2 * keras.random.uniform(shape, 1, 2, dtype=dtype, seed=self.seed)


def squared(values):
    return values**2


def test_initialisers_and_functions_of_ones_own():
    start = start_of(layers.Dense(4, activation=squared, kernel_initializer=Doubled(7), name="a"))
    kernels = [start(make_seed(seed))["a/kernel"].numpy() for seed in (1, 1, 2)]
    assert all(kernel.min() >= 2 and kernel.max() <= 4 for kernel in kernels)
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.any(kernels[0] == kernels[2])


class Halved(keras.Initializer):
    """One that holds another one, with a seed that is a number."""

    def __init__(self):
        self.inner = keras.initializers.RandomUniform(1, 2, seed=3)

    def __call__(self, shape, dtype=None):
        return self.inner(shape, dtype) / 2


class Handed(layers.Layer):
    """A layer whose configuration has the very object that it was given."""

    def __init__(self, initializer, **options):
        super().__init__(**options)
        self.initializer = initializer

    def build(self, input_shape):
        self.shift = self.add_weight(shape=[5], initializer=self.initializer, name="shift")

    def call(self, inputs):
        return inputs + self.shift

    def get_config(self):
        return super().get_config() | {"initializer": self.initializer}


def test_an_initialiser_inside_another_one_draws_anew_and_stays_as_it_is():
    initializer = Halved()
    start = start_of(Handed(initializer, name="a"))
    shifts = [start(make_seed(seed))["a/shift"].numpy() for seed in (1, 1, 2)]
    np.testing.assert_array_equal(shifts[0], shifts[1])
    assert not np.any(shifts[0] == shifts[2])
    assert np.all((shifts[0] >= 0.5) & (shifts[0] <= 1))
    assert initializer.inner.seed == 3


class Forgetful(layers.Layer):
    def __init__(self, size):
        super().__init__(name="forgetful")
        self.scale = self.add_weight(shape=[size], initializer="ones", name="scale")

    def call(self, inputs):
        return inputs * self.scale


class Constant(layers.Layer):
    """Its weight begins as a number, without an initialiser."""

    def build(self, input_shape):
        del input_shape
        self.scale = keras.Variable([2.0], name="scale")

    def call(self, inputs):
        return inputs * self.scale


class Global(keras.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.random.normal(shape, dtype=dtype)


class Stateful(keras.Initializer):
    def __call__(self, shape, dtype=None):
        return tf.random.normal(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: Forgetful(5), r"layer 'forgetful' \(Forgetful\), which cannot be made again from its configuration"),
        (lambda: Constant(name="a"), r"layer 'a' \(Constant\), which cannot be made again from its configuration"),
        (lambda: layers.Dense(4, kernel_initializer=Global(), name="a"), "'a/kernel', whose initialiser .*`seed`"),
        (lambda: layers.Dense(4, kernel_initializer=Stateful(), name="a"), "'a/kernel', whose initialiser .*`seed`"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_way_out(layer, message):
    with pytest.raises(ValueError, match=message + ".*Give `initial` a standard deviation, or 'model'"):
        start_of(layer())
    assert start_of(layer(), initial="model")(SEED)
