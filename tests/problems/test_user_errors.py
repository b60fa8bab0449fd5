"""What is told of an error in the user's own code."""

import inspect
import json

import keras
import pytest
import tensorflow as tf

from problems.common.user_errors import describe


def broken(x):
    return tf.matmul(x, tf.ones([4, 4]))


class Layer(keras.layers.Layer):
    def call(self, inputs):
        return broken(inputs)


def in_autograph():
    if tf.reduce_sum(tf.ones([3])) > 0:
        broken(tf.ones([3, 3]))


LINE = inspect.getsourcelines(broken)[1] + 1
LAYER = Layer()
EAGER = "InvalidArgumentError: Matrix size-incompatible: In[0]: [3,3], In[1]: [4,4] ("
TRACED = "ValueError: Dimensions must be equal, but are 3 and 4 for "


@pytest.mark.parametrize(
    ("function", "start"),
    [
        (
            lambda: broken(tf.ones([3, 3])),
            EAGER,
        ),
        (
            lambda: LAYER(tf.ones([3, 3])),
            EAGER,
        ),
        (tf.function(in_autograph), TRACED),
        (tf.function(lambda: LAYER(tf.ones([3, 3]))), TRACED),
    ],
)
def test_the_message_and_the_line_are_those_of_the_users_code(function, start):
    """Whatever Keras or AutoGraph write around them."""
    with pytest.raises(Exception) as caught:
        function()
    text = describe(caught.value)
    assert text.startswith(start)
    assert f"test_user_errors.py, line {LINE})" in text and "\n" not in text


def test_errors_of_libraries_and_without_a_message():
    with pytest.raises(ValueError) as caught:
        json.loads("[")
    line = inspect.getsourcelines(test_errors_of_libraries_and_without_a_message)[1] + 2
    assert describe(caught.value).startswith("JSONDecodeError: Expecting value: line 1 column 2 (char 1) (")
    assert describe(caught.value).endswith(f"test_user_errors.py, line {line})")
    with pytest.raises(KeyError) as caught:
        keras.layers.Lambda(lambda x: {}["nothing"])(tf.ones([1]))
    assert describe(caught.value).startswith("KeyError: 'nothing' (")
    assert describe(KeyboardInterrupt()) == "KeyboardInterrupt: no message"
