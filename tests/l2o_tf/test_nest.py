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
