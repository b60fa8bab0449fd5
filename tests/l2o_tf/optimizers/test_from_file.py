"""Cells of the user's own: what is wrong with a step is said when the cell is made."""

import pytest

from l2o_tf.optimizers import make_optimizer

FILE = """
import keras
import tensorflow as tf

class Good(keras.layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)

    def build(self, input_shape):
        self.rate = self.add_weight(name="rate", shape=[])

    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, 1])]

    def call(self, inputs, states):
        return -self.rate * inputs, [states[0] + inputs]

    def get_config(self):
        return {}

class Scalar(Good):
    def call(self, inputs, states):
        return tf.reduce_sum(inputs), states

class Forgets(Good):
    def call(self, inputs, states):
        return inputs, []

class Wide(Good):
    def call(self, inputs, states):
        return inputs, [tf.tile(states[0], [1, 2])]

class Fails(Good):
    def call(self, inputs, states):
        return inputs @ tf.zeros([3, 1]), states
"""


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("Scalar", r"whose `call` returns \(float32 \[\], .*, expected \(updates, states\) like gradients and states"),
        ("Forgets", r"whose `call` returns \(float32 \[4, 1\], \[\]\), expected"),
        ("Wide", r"whose `call` returns \(float32 \[4, 1\], \[float32 \[4, 2\]\]\), expected"),
        (
            "Fails",
            r"of which a step raised InvalidArgumentError: .*own.py, line 35\)\. See docs",
        ),
    ],
)
def test_a_step_that_cannot_be(tmp_path, cell, message):
    (tmp_path / "own.py").write_text(FILE)
    with pytest.raises(ValueError, match=message) as caught:
        make_optimizer(f"{tmp_path / 'own.py'}:{cell}")
    assert "\n" not in str(caught.value)
    assert list(make_optimizer(f"{tmp_path / 'own.py'}:Good").named_variables) == ["0/rate"]
