"""Seeds, which every random number is derived from."""

import numpy as np
import pytest
import tensorflow as tf

from problems.base import fold, make_seed, normal_like, require_not_negative, require_positive


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


@pytest.mark.parametrize("value", [0, -1, 2.5, "64", True, None, float("nan")])
def test_sizes_are_positive_integers(value):
    with pytest.raises(ValueError, match="^Received n=.*, expected a positive integer.$"):
        require_positive("n", value)
    require_positive("n", np.int32(3))


@pytest.mark.parametrize("value", [-1e-9, float("inf"), float("nan"), "1", None])
def test_deviations_are_finite_and_not_negative(value):
    with pytest.raises(ValueError, match="^Received stddev=.*, expected a finite number of at least 0.$"):
        require_not_negative("stddev", value)
    for good in (0, 0.0, np.float32(0.1)):
        require_not_negative("stddev", good)


@pytest.mark.parametrize("seed", [2**31, 2**32 + 5, -(2**31) - 1])
def test_a_seed_has_32_bits(seed):
    with pytest.raises(ValueError, match=f"Received seed={seed}, expected an integer of 32 bits"):
        make_seed(seed)
    assert make_seed(2**31 - 1).numpy()[0] == 2**31 - 1
