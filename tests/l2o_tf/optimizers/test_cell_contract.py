"""A cell that cannot be a learned optimizer is refused in one sentence, when an optimizer is made of it."""

import inspect

import keras
import pytest
import tensorflow as tf

from l2o_tf.optimizers import CoordinatewiseOptimizer
from l2o_tf.optimizers.base import Step


class Momentum(keras.layers.Layer):
    """A good cell, but for what `how` does to what it returns."""

    def __init__(self, how=lambda update, states: (update, states), units=1, **options):
        super().__init__(**options)
        self.how, self.units = how, units

    def build(self, input_shape):
        self.rate = self.add_weight(name="rate", shape=[self.units])

    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, 1], self.compute_dtype)]

    def call(self, inputs, states):
        velocity = 0.9 * states[0] + inputs
        return self.how(-0.1 * velocity, [velocity])

    def get_config(self):
        return super().get_config()


class WithoutRows(Momentum):
    def get_initial_state(self, batch_size=None):
        return [tf.zeros([])]

    def call(self, inputs, states):
        return inputs, states


class OfNoOtherName(Momentum):
    def __init__(self):
        super().__init__()


def raises(update, states):
    return update, states[1]


def branches(update, states):
    return (update, states) if tf.reduce_sum(update) > 0 else (2.0 * update, states)


LINES = {function: inspect.getsourcelines(function)[1] + 1 for function in (raises, branches)}
SHAPES = r"expected \(updates, states\) like gradients and states, \(float32 \[4, 1\], \[float32 \[4, 1\]\]\)"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (raises, rf"a step raised IndexError: list index out of range \(.*contract.py, line {LINES[raises]}\)"),
        (branches, rf"traced into a graph, raised Operator.*contract.py, line {LINES[branches]}\)"),
        (lambda u, s: (u[:, 0], s), rf"returns \(float32 \[4\], \[float32 \[4, 1\]\]\), {SHAPES}"),
        (lambda u, s: u, rf"returns float32 \[4, 1\], {SHAPES}"),
        (lambda u, s: (u, s + s), SHAPES),
        (lambda u, s: (u, [tf.concat(s + s, axis=1)]), SHAPES),
        (lambda u, s: (u, [tf.cast(s[0], tf.float16)]), SHAPES),
        (lambda u, s: (u - tf.reduce_mean(u), s), "mixes rows"),
        (lambda u, s: (tf.roll(u, 1, axis=0), s), "mixes rows"),
        (lambda u, s: (u, [s[0] / tf.norm(s[0])]), "mixes rows"),
        (lambda u, s: (u * tf.cumsum(tf.ones_like(u)), s), "mixes rows"),
        (lambda u, s: (u * tf.random.uniform([]), s), "gives another result when a step is repeated"),
    ],
)
def test_a_step_that_breaks_the_contract(how, message):
    with pytest.raises(ValueError, match=f"^Received optimizer 'Momentum', .*{message}") as caught:
        CoordinatewiseOptimizer(Momentum(how))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "Received a NoneType as cell, expected a keras.layers.Layer"),
        (lambda: keras.layers.Dense(1), "a layer without `get_initial_state`"),
        (lambda: keras.layers.GRUCell(3), r"returns \(float32 \[4, 3\], \[float32 \[4, 3\]\]\), expected"),
        (lambda: Momentum(dtype="mixed_float16"), r"\(float16 \[4, 1\], .*, expected"),
        (WithoutRows, r"`get_initial_state` returns \[float32 \[\]\], expected tensors with a row for each of 4"),
        (lambda: Momentum(units=2), "`get_config` leads to weights of other shapes"),
        (OfNoOtherName, "does not make it again: it raised TypeError: .*unexpected keyword argument 'name'"),
    ],
)
def test_what_is_no_cell(make, message):
    with pytest.raises(ValueError, match=message):
        CoordinatewiseOptimizer(make())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_good_cell_passes(dtype):
    assert CoordinatewiseOptimizer(Momentum(dtype=dtype)).name == "Momentum"


class WithSublayer(Momentum):
    """Its layer makes weights at the first call."""

    def __init__(self, **options):
        super().__init__(**options)
        self.linear = keras.layers.Dense(1)

    def call(self, inputs, states):
        return self.linear(inputs), (states[0],)


class Gated(Momentum):
    """Rows mix as soon as a weight that is 0 at first has another value."""

    def build(self, input_shape):
        self.gate = self.add_weight(name="gate", shape=[], initializer="zeros")

    def call(self, inputs, states):
        return self.gate * tf.reduce_mean(inputs) - inputs, states


def test_a_layer_inside_may_build_itself_and_states_may_be_a_tuple():
    optimizer = CoordinatewiseOptimizer(WithSublayer())
    params = {"x": tf.ones([3])}
    updates, state = optimizer.update(Step(params, params), optimizer.initial_state(params, None))
    assert len(optimizer.named_variables) == 3 and isinstance(state, list) and updates["x"].shape == [3]


def test_rows_that_mix_after_training():
    with pytest.raises(ValueError, match="'Gated', which mixes rows"):
        CoordinatewiseOptimizer(Gated())
