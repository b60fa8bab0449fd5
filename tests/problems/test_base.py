"""Seeds, which every random number is derived from."""

import numpy as np
import pytest
import tensorflow as tf

from problems.base import fold, make_seed, normal_like


@pytest.mark.parametrize("compiled", [False, True])
def test_values_are_folded_in_one_after_the_other(compiled):
    """Those of TensorFlow, so that a run of an earlier version goes on with the numbers that it would have drawn."""
    seed = make_seed(3)
    values = (7, tf.constant(5), 0)
    expected = seed
    for value in values:
        expected = tf.random.fold_in(expected, value, alg="philox")
    derived = tf.function(lambda seed: fold(seed, *values)) if compiled else lambda seed: fold(seed, *values)
    assert derived(seed).numpy().tolist() == expected.numpy().tolist()
    assert fold(seed).numpy().tolist() == seed.numpy().tolist()


def test_a_value_costs_one_operation():
    """In place of those that TensorFlow's own function traces, in a graph that derives hundreds of seeds."""
    graph = (
        tf.function(lambda seed, epoch: fold(seed, epoch, 3))
        .get_concrete_function(tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.int32))
        .graph
    )
    work = [op.type for op in graph.get_operations() if op.type not in {"Placeholder", "Const", "Identity"}]
    assert work == ["PartitionedCall"] * 2


@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_are_those_of_philox(compiled):
    """Which the package does not ask for by name: that would cost twenty operations for every draw."""

    def draw():
        return normal_like({"x": tf.zeros([3])}, [], make_seed(3), 1.0)["x"]

    drawn = tf.function(draw)() if compiled else draw()
    expected = tf.random.stateless_normal([3], tf.random.fold_in(make_seed(3), 0, alg="philox"), alg="philox")
    np.testing.assert_array_equal(drawn, expected)
