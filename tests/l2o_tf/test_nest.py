"""One vector and back."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import nest

PARAMS = {
    "z": tf.reshape(tf.range(6.0), [2, 3]),
    "scalar": tf.constant(6.0),
    "a": tf.reshape(7.0 + tf.range(4.0), [1, 2, 2]),
}


def test_size():
    assert nest.size(PARAMS) == 11
    assert nest.size({"x": tf.ones([])}) == 1


def test_order_is_that_of_the_dict_and_row_major():
    np.testing.assert_array_equal(nest.flatten(PARAMS), np.arange(11.0))


@pytest.mark.parametrize("names", [["z", "scalar", "a"], ["scalar"], ["a"]])
def test_round_trip(names):
    params = {name: PARAMS[name] for name in names}
    again = nest.unflatten(nest.flatten(params), like=params)
    assert list(again) == names
    for name in names:
        assert again[name].shape == params[name].shape
        np.testing.assert_array_equal(again[name], params[name])


def test_shapes_are_static_within_a_graph():
    found = {}

    @tf.function(input_signature=[tf.TensorSpec([None])], autograph=False)
    def trace(vector):
        found.update({name: tensor.shape.as_list() for name, tensor in nest.unflatten(vector, like=PARAMS).items()})
        return vector

    trace(tf.zeros([11]))
    assert found == {"z": [2, 3], "scalar": [], "a": [1, 2, 2]}


def test_add_goes_by_name():
    updates = {"a": 10.0 * tf.ones([1, 2, 2]), "z": tf.ones([2, 3]), "scalar": tf.constant(0.5)}
    added = nest.add(PARAMS, updates)
    assert list(added) == list(PARAMS)
    np.testing.assert_array_equal(nest.flatten(added), [1, 2, 3, 4, 5, 6, 6.5, 17, 18, 19, 20])


@pytest.mark.parametrize("small", [nest._SMALL, 0])
@pytest.mark.parametrize("sizes", [(6, 1, 4), (11,)])
def test_means_of_tensors_and_the_way_back(sizes, small, monkeypatch):
    """By products with one matrix, and by cutting."""
    monkeypatch.setattr(nest, "_SMALL", small)
    columns = np.random.default_rng(0).normal(size=[3, 11])
    pieces = np.split(columns, np.cumsum(sizes)[:-1], axis=1)
    means = nest.segment_mean(tf.constant(columns), sizes)
    np.testing.assert_allclose(means, np.transpose([piece.mean(axis=1) for piece in pieces]), rtol=1e-12)
    expected = np.concatenate([piece.mean(axis=1, keepdims=True) + 0 * piece for piece in pieces], axis=1)
    np.testing.assert_allclose(nest.spread(means, sizes), expected, rtol=1e-12)


def test_sizes_of_tensors():
    assert nest.sizes(PARAMS) == (6, 1, 4)


def test_a_state_is_carried_row_by_row():
    """Tensors of 2 and 1 coordinates become tensors of 3 (new), 1 and 2."""
    sizes = {"kept": [None, 1, 0], "old_sizes": [2, 1], "new_sizes": [3, 1, 2]}
    per_coordinate = nest.carried(np.array([[1.0], [2.0], [3.0]]), np.zeros([6, 1]), **sizes)
    assert per_coordinate[:, 0].tolist() == [0, 0, 0, 3, 1, 2]
    assert nest.carried(np.array([[1.0], [2.0]]), np.zeros([3, 1]), **sizes)[:, 0].tolist() == [0, 2, 1]
    for whole in (np.array(7.0), np.array([[7.0, 8.0]])):
        assert nest.carried(whole, np.zeros_like(whole), **sizes) is whole


def test_a_state_rests_row_by_row():
    """Of a [2, 2] tensor the second row rests, of a vector of 2 both; a scalar moves."""
    params = {"a": tf.zeros([2, 2]), "b": tf.zeros([2]), "c": tf.zeros([])}
    rows = {"a": nest.moving_rows(tf.constant([[0.0, 1.0], [0.0, 0.0]])), "b": nest.moving_rows(tf.zeros([2]))}
    assert rows["a"].numpy().tolist() == [[True], [False]]
    old, new = [tf.zeros([7, 1]), tf.zeros([3, 2]), tf.zeros([1, 2]), 0.0], [tf.ones([7, 1]), tf.ones([3, 2])]
    found = nest.moved([tf.constant(each) for each in old], [*new, tf.ones([1, 2]), tf.constant(1.0)], rows, params)
    assert found[0][:, 0].numpy().tolist() == [1, 1, 0, 0, 0, 0, 1]
    assert found[1].numpy().tolist() == [[1, 1], [0, 0], [1, 1]]
    assert found[2].numpy().tolist() == [[1, 1]]
    assert found[3] == 1
