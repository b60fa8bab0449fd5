"""Seeds, which every random number is derived from."""

import numpy as np
import pytest
import tensorflow as tf

from problems.base import fold, make_seed


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
@pytest.mark.parametrize("options", [{}, {"alg": "philox"}])
def test_numbers_are_those_of_philox(compiled, options):
    """The package does not ask for Philox, which would cost twenty operations for every draw."""

    def draw():
        return tf.random.stateless_normal([3], make_seed(3), **options)

    drawn = tf.function(draw)() if compiled else draw()
    np.testing.assert_allclose(drawn, [-0.6715848, 1.6760504, -0.9442455], rtol=1e-6)
