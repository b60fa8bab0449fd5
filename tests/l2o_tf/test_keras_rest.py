"""What has no gradient stays where it is: rows of an embedding that a minibatch does not see, whole variables."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.keras_optimizer.memory import memory_of
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer

NAMES = ["L2O-DM", "RNNprop-CL-IL", "L2O-Scale-Meta"]


def sparse(rows):
    """A gradient of a [4, 2] table that has seen these rows."""
    return tf.IndexedSlices(tf.fill([len(rows), 2], 0.3), tf.constant(rows, tf.int32), tf.constant([4, 2]))


def dense(rows):
    return tf.convert_to_tensor(sparse(rows))


def stepped(grads, shape=(4, 2), name="L2O-DM", **options):
    """The variable after each step, and the optimizer; another variable has a gradient in every step."""
    optimizer = LearnedOptimizer(name, **options)
    variables, found = [keras.Variable(np.ones(shape, np.float32)), keras.Variable([1.0, 2.0])], []
    for grad in grads:
        optimizer.scale_loss(tf.constant(1.0))
        optimizer.apply([grad, tf.ones(2)], variables)
        found.append(variables[0].numpy())
    return found, optimizer


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_table_rest_with_their_state(name):
    (first, second, third, fourth), optimizer = stepped([sparse([0, 1])] * 2 + [sparse([0, 2])] * 2, name=name)
    _, at_second = stepped([sparse([0, 1])] * 2, name=name)
    for before, after in ((first, second), (second, third), (third, fourth)):
        assert np.all(before[0] != after[0])  # seen in each step
        np.testing.assert_array_equal(before[3], after[3])  # never seen
    np.testing.assert_array_equal(second[1], fourth[1])  # not seen any more
    rows = [tf.nest.flatten(memory_of(each)["learned"])[0] for each in (at_second, optimizer)]  # h or m: [N, .]
    np.testing.assert_array_equal(rows[0][2:4], rows[1][2:4])
    assert np.all(rows[0][4:6] != rows[1][4:6])


@pytest.mark.parametrize(
    ("options", "grads", "rests"),
    [
        ({}, [sparse([0, 1]), dense([0])], [1, 2, 3]),  # once a table, always a table
        ({}, [dense([0, 1]), dense([])], [0, 1, 2, 3]),  # as a whole
        ({}, [dense([0, 1]), dense([0])], []),  # as in meta-training
        ({}, [dense([0, 1]), None], [0, 1, 2, 3]),
        ({"rest": "rows"}, [dense([0, 1]), dense([0])], [1, 2, 3]),  # a dead unit, a pixel that is always black
        ({"rest": "none"}, [sparse([0, 1]), sparse([])], []),
        ({"rest": "none"}, [dense([0, 1]), None], [0, 1, 2, 3]),  # no gradient is another thing than a zero
        ({"guard": True}, [sparse([0, 1]), sparse([0])], [1, 2, 3]),
        ({"clipnorm": 0.1, "gradient_accumulation_steps": 2}, [sparse([0, 1])] * 2 + [sparse([0])] * 2, [1, 2, 3]),
    ],
)
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_what_rests(options, grads, rests):
    values, _ = stepped(grads, **options)
    moved = np.any(values[-1] != values[len(grads) // 2 - 1], axis=1)
    assert moved.tolist() == [row not in rests for row in range(4)]


def test_elements_of_a_vector_are_its_rows():
    values, _ = stepped([tf.constant([1.0, 2.0]), tf.constant([1.0, 0.0])], shape=(2,), rest="rows")
    assert (values[0] != values[1]).tolist() == [True, False]


def test_an_embedding_in_fit():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(6, 2), keras.layers.Flatten()])
    model.add(keras.layers.Dense(1))
    model.compile(LearnedOptimizer("L2O-DM"), "mse")
    start = model.layers[0].embeddings.numpy()
    model.fit(np.tile([[0, 1, 2]], [8, 1]), np.ones([8, 1]), batch_size=2, verbose=0)
    assert np.any(model.layers[0].embeddings.numpy() != start, axis=1).tolist() == [True] * 3 + [False] * 3


def test_the_option_is_checked_and_kept():
    with pytest.raises(ValueError, match="Received rest='row', expected one of"):
        LearnedOptimizer("L2O-DM", rest="row")
    optimizer = LearnedOptimizer("L2O-DM", rest="rows")
    assert LearnedOptimizer.from_config(optimizer.get_config()).rest == "rows"
