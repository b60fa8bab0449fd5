"""What the cells of L2O-DM and RNNprop have in common: one step, in rows or in columns."""

import tensorflow as tf

from l2o_tf.optimizers.cell import Cell
from l2o_tf.optimizers.lstm import columns, rows


class LSTMCell(Cell):
    """A cell whose `_step(layout, inputs, states)` is written for any layout, `rows` or `columns`."""

    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, units], self.compute_dtype) for units in self.state_size]

    def call(self, inputs, states):
        return self._step(rows, inputs, states)

    def columns(self, inputs, states):
        """`call` with everything transposed: `([1, N], [[H, N], ...]) -> ([1, N], [[H, N], ...])`."""
        return self._step(columns, inputs, states)
