"""How a Keras optimizer holds its state: in blocks if the model is large, in bfloat16 if asked, in files in rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.keras_optimizer import bits, memory
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer
from l2o_tf.optimizers import Assigned, blocks, make_optimizer
from tests.l2o_tf import test_keras_optimizer as fit
from tests.l2o_tf import test_keras_rest as rest

RNNPROP = {"m": 1, "v": 1, "t": 1, "h_1": 20, "c_1": 20, "h_2": 20, "c_2": 20}


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", 9)
    monkeypatch.setattr(blocks, "SIZE", 8)


def shapes(optimizer):
    return [tuple(variable.shape) for variable in optimizer.state[0]]


def assert_same(ours, theirs):
    for one, other in zip(fit.values(ours), fit.values(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


def rows(model):
    return memory.memory_of(model.optimizer)["learned"]


def test_a_large_model_takes_the_same_steps(small_is_large, monkeypatch, tmp_path):
    """In seven blocks, of which the last one overlaps; its state fits one that is held as a whole."""
    large = fit.compiled(LearnedOptimizer("RNNprop-CL-IL"))
    found = fit.train(large, 2)
    assert shapes(large.optimizer) == [(7, width, 8) for width in RNNPROP.values()]
    large.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert_same(again, large)
    monkeypatch.undo()
    small = fit.compiled(LearnedOptimizer("RNNprop-CL-IL"))
    np.testing.assert_allclose(found, fit.train(small, 2), rtol=1e-5)
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert shapes(loaded.optimizer) == shapes(small.optimizer) == [(width, 53) for width in RNNPROP.values()]
    for ours, theirs in zip(rows(loaded), rows(large), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_step_of_a_large_model_is_compiled(small_is_large):
    """Where XLA does not compile the rest: a step of so many coordinates takes far longer without."""
    optimizer, variable = LearnedOptimizer("L2O-DM"), keras.Variable(np.ones(12, np.float32))
    optimizer.build([variable])
    step = tf.function(lambda: optimizer.apply([tf.ones(12)], [variable]), autograph=False)
    calls = step.get_concrete_function().graph.get_operations()
    assert any("_XlaMustCompile" in each.node_def.attr for each in calls)


@pytest.mark.parametrize(("state_dtype", "atol"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_rows_of_a_table_rest_in_blocks(state_dtype, atol, monkeypatch, small_is_large):
    grads = [rest.sparse([0, 1])] * 2 + [rest.sparse([0, 2])]
    (*_, large), blocked = rest.stepped(grads, state_dtype=state_dtype)
    monkeypatch.undo()
    (*_, small), whole = rest.stepped(grads, state_dtype=state_dtype)
    np.testing.assert_allclose(large, small, rtol=10 * atol)
    for ours, theirs in zip(*(memory.memory_of(each)["learned"] for each in (blocked, whole)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=atol)


ROUNDED = {
    "L2O-DM": [True] * 4,
    "RNNprop-CL-IL": [False] * 3 + [True] * 4,
    "L2O-Scale-Meta": [True] + [False] * 5 + [True] * 2 + [False],
}


@pytest.mark.parametrize("name", ROUNDED)
def test_bfloat16_halves_what_is_remembered_of_units(name):
    """Learning rates, decays, moments and counters keep their precision, and a file is loaded exactly."""

    def state(optimizer):
        return tf.nest.flatten(optimizer.state[0])

    grads = [rest.dense([0, 1])] * 2
    (*_, full), exact = rest.stepped(grads, name=name)
    (*_, half), optimizer = rest.stepped(grads, name=name, state_dtype="bfloat16")
    np.testing.assert_allclose(half - 1.0, full - 1.0, rtol=0.02)
    sizes = [
        np.dtype(short.dtype).itemsize / np.dtype(long.dtype).itemsize
        for short, long in zip(state(optimizer), state(exact), strict=True)
    ]
    assert sizes == [0.5 if rounded else 1.0 for rounded in ROUNDED[name]]
    store, again = {}, LearnedOptimizer.from_config(optimizer.get_config())
    optimizer.save_own_variables(store)
    again.build(optimizer._trainable_variables)
    again.load_own_variables(store)
    for ours, theirs in zip(again.variables, optimizer.variables, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_a_guard_keeps_what_is_not_finite_out_of_a_packed_state():
    """As bits, too, a NaN is none; and packing rounds as TensorFlow does."""
    numbers = tf.constant([1.0, 1.006, -0.0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(
        bits.unpacked(bits.packed(numbers)), tf.cast(tf.cast(numbers, tf.bfloat16), tf.float32)
    )
    assert bits.is_finite(bits.packed(numbers)).numpy().tolist() == [True] * 3 + [False] * 3
    _, optimizer = rest.stepped([rest.dense([0, 1]) / 0.0], guard=True, state_dtype="bfloat16")
    for leaf in memory.memory_of(optimizer)["learned"]:
        assert np.all(np.isfinite(leaf))


def test_state_dtypes_that_are_refused():
    with pytest.raises(ValueError, match="Received state_dtype='float16', expected one of"):
        LearnedOptimizer("L2O-DM", state_dtype="float16")
    of_others = Assigned([("*", make_optimizer("L2O-DM"))])
    with pytest.raises(ValueError, match="state_dtype='bfloat16' for the rule assigned, which may count in its state"):
        LearnedOptimizer(of_others, state_dtype="bfloat16")
