"""What the parts of a state stand for, and how rows of it are carried over and rest."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.keras_optimizer import state_rows
from l2o_tf.keras_optimizer.state_rows import Kind
from l2o_tf.optimizers import make_optimizer
from problems.base import make_seed


class State(NamedTuple):
    rows: object
    tensors: object
    whole: object
    entries: object
    other: object


KINDS = State(Kind.COORDINATES, Kind.TENSORS, [Kind.WHOLE, Kind.WHOLE], Kind.ENTRIES, Kind.OTHER)


def initial(params):
    n, k = nest.size(params), len(params)
    whole = [tf.constant(0.0), tf.zeros([1, 2])]
    entries = {name: [x, tf.zeros([3, *x.shape]), tf.zeros([5])] for name, x in params.items()}
    return State(tf.zeros([n, 1]), tf.zeros([k, 2]), whole, entries, tf.zeros([2 * n]))


def test_two_optimizees_tell():
    assert state_rows.kinds(initial) == KINDS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("L2O-DM", {Kind.COORDINATES}),
        ("L2O-Scale", {Kind.COORDINATES, Kind.TENSORS, Kind.WHOLE}),
        ("adam", {Kind.ENTRIES, Kind.WHOLE}),
    ],
)
def test_of_optimizers(name, expected):
    optimizer = make_optimizer(name)
    found = state_rows.kinds(lambda params: optimizer.initial_state(params, make_seed(0)))
    assert set(tf.nest.flatten(found)) == expected


def test_shapes_without_memory():
    found = state_rows.shapes(initial, [(2**40, 1), (3,)])
    assert [list(shape) for shape in tf.nest.flatten(found)][:2] == [[2**40 + 3, 1], [2, 2]]


def test_a_state_is_carried_row_by_row():
    """Tensors of 2 and 1 coordinates become tensors of 3 (new), 1 and 2."""
    old = State(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0]]), [7.0, 8.0], {"0": 5.0, "1": 6.0}, 9.0)
    new = State(np.zeros([6, 1]), np.zeros([3, 1]), [0.0, 0.0], {"0": 0.0, "1": 0.0, "2": 0.0}, 0.0)
    kept = {"kept": [None, 1, 0], "old_sizes": [2, 1], "new_sizes": [3, 1, 2]}
    found = state_rows.carried(KINDS, old, new, **kept)
    assert found.rows[:, 0].tolist() == [0, 0, 0, 3, 1, 2]
    assert found.tensors[:, 0].tolist() == [0, 2, 1]
    assert found[2:] == ([7.0, 8.0], {"0": 0.0, "1": 6.0, "2": 5.0}, 0.0)


def test_a_state_rests_row_by_row():
    """Of a [2, 2] tensor the second row rests, of a vector of 2 both; a scalar moves."""
    params = {"a": tf.zeros([2, 2]), "b": tf.zeros([2]), "c": tf.zeros([])}
    grads = {"a": tf.constant([[0.0, 1.0], [0.0, 0.0]]), "b": tf.zeros([2])}
    rows = {name: state_rows.moving_rows(grad) for name, grad in grads.items()}
    assert rows["a"].numpy().tolist() == [[True], [False]]
    shapes = tf.nest.map_structure(lambda x: x.shape, initial(params))
    moving = state_rows.moving(KINDS, shapes, rows, params)
    assert tf.nest.map_structure(lambda x: x.shape, moving) == shapes
    found = tf.nest.map_structure(lambda x: tf.cast(x, tf.int32), moving)
    assert found.rows[:, 0].numpy().tolist() == [1, 1, 0, 0, 0, 0, 1]
    assert found.tensors.numpy().tolist() == [[1, 1], [0, 0], [1, 1]]
    assert [float(tf.reduce_min(each)) for each in (*found.whole, found.other)] == [1, 1, 1]
    alike, longer, other = zip(*found.entries.values(), strict=True)
    assert [each.numpy().tolist() for each in alike] == [[[1, 1], [0, 0]], [0, 0], 1]
    assert [each[1].numpy().tolist() for each in longer] == [[[1, 1], [0, 0]], [0, 0], 1]
    assert [float(each[0]) for each in other] == [1, 0, 1]
