"""An optimizer on an optimizee of many coordinates, a block of them at a time.

A recurrent cell on N coordinates computes hundreds of numbers for each before it forgets them, and its state in two
layouts is twice its state. Where N is millions, that is what fills the memory. Here the state is kept in blocks, in the
layout in which loops use it, and a step goes through them one after the other.
"""

import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.base import Blocks, Loop, Optimizer, Params, Sampling, State, Step
from problems.base import Seed

LARGE = 2**17
"""Optimizees of more coordinates are taken in blocks; the states of a window of 20 steps would take about 1 GiB."""

SIZE = 2**14
"""Coordinates of a block: those of the paper's perceptron, whose gates fit into a processor's cache."""


class Blocked(Optimizer):
    """The same optimizer, whose state is that of B blocks of S coordinates, each tensor with a leading axis of B.

    Block b has the coordinates from `min(b S, N - S)` on: the last one overlaps with the one before, and both compute
    the same there.

    Args:
        optimizer: a coordinate-wise one.
        size: S; the optimizee must have as many coordinates at least. Default: `SIZE`.
    """

    coordinatewise = True

    def __init__(self, optimizer: Optimizer, size: int | None = None):
        self.name, self.kind, self.architecture = optimizer.name, optimizer.kind, optimizer.architecture
        self._optimizer, self._loop, self._size = optimizer, optimizer.loop(), size or SIZE

    def initial_state(self, params: Params, seed: Seed) -> State:
        count = -(-nest.size(params) // self._size)
        like = {"block": tf.zeros([self._size], next(iter(params.values())).dtype)}
        block = self._loop.enter(self._optimizer.initial_state(like, seed))
        return tf.nest.map_structure(lambda x: tf.repeat(x[None], count, axis=0), block)

    def update(self, step: Step, state: State) -> tuple[Params, State]:
        params, total, size = step.params, nest.size(step.params), self._size
        count, whole = -(-total // size), step.flat()
        arrays = tf.nest.map_structure(lambda x: nest.rows_like(x[0], count).unstack(x), state)

        def take(number, arrays, found):
            first = tf.minimum(number * size, total - size)
            before = tf.nest.map_structure(lambda array: _computed_once(array.read(number)), arrays)
            updates, after = self._loop.update(whole.block(first, size), before)
            arrays = tf.nest.map_structure(lambda array, x: array.write(number, x), arrays, after)
            return number + 1, arrays, found.write(number, updates["block"])

        found = nest.rows_like(whole.grads["block"][:size], count)
        _, arrays, found = tf.while_loop(
            lambda number, *_: number < count, take, (0, arrays, found), maximum_iterations=count
        )
        rows = found.stack()
        updates = tf.concat([tf.reshape(rows[:-1], [-1]), rows[-1, count * size - total :]], axis=0)
        return nest.unflatten(updates, like=params), tf.nest.map_structure(lambda array: array.stack(), arrays)

    def loop(self) -> Loop:
        blocks = Blocks(self._cut, self._loop.update, self._size)
        sampling = Sampling(self._pick, lambda: self._loop)
        return Loop(lambda state: state, self.update, lambda state: state, blocks, sampling)

    def rows(self, total: int) -> Loop:
        """The loop for states of the optimizer itself, `[N, ...]` with N = `total`, which `loop` does not know."""
        head = (-(-total // self._size) - 1) * self._size

        def enter(state):
            def cut(x):
                first = tf.reshape(x[:head], [-1, self._size, *x.shape[1:]])
                return tf.concat([first, x[None, total - self._size :]], axis=0)

            return tf.vectorized_map(self._loop.enter, tf.nest.map_structure(cut, state))

        def leave(state):
            def joined(x):
                return tf.concat([tf.reshape(x[:-1], [head, *x.shape[2:]]), x[-1, head - total :]], axis=0)

            return tf.nest.map_structure(joined, tf.vectorized_map(self._loop.leave, state))

        return Loop(enter, self.update, leave)

    def _cut(self, state: State, first, size: int) -> State:
        return tf.nest.map_structure(lambda x: x[-(-first // self._size)], state)

    def _pick(self, state: State, where: tf.Tensor, params: Params) -> State:
        """The coordinates `where` in the layout in which loops use them."""
        rows = self.rows(nest.size(params)).leave(state)
        return self._loop.enter(tf.nest.map_structure(lambda x: tf.gather(x, where), rows))

    def diagnose(self, grads: Params, state: State) -> dict[str, tf.Tensor]:
        """Of the first block."""
        first = self._loop.leave(tf.nest.map_structure(lambda x: x[0], state))
        return self._optimizer.diagnose({"block": nest.flatten(grads)[: self._size]}, first)

    @property
    def named_variables(self):
        return self._optimizer.named_variables


def in_blocks_if_large(optimizer: Optimizer, params: Params) -> Optimizer:
    """`Blocked` for an optimizee of more than `LARGE` coordinates, if the optimizer can be; else the optimizer."""
    large = nest.size(params) > LARGE and optimizer.loop().blocks is not None
    return Blocked(optimizer) if large else optimizer


def _computed_once(x: tf.Tensor) -> tf.Tensor:
    """`I x`, for `x [H, S]` or `[S, H]`.

    Without it XLA reads parts of a block again after it has written others, and for that copies all blocks in each
    step; a matrix product is computed once. Numbers of 16 bits take part in it as float32, which holds all of them.
    """
    if x.dtype == tf.int16:
        return tf.cast(_computed_once(tf.cast(x, tf.float32)), x.dtype)
    if x.shape.rank != 2 or not x.dtype.is_floating:
        return x
    rows, columns = x.shape
    return tf.matmul(tf.eye(rows, dtype=x.dtype), x) if rows < columns else tf.matmul(x, tf.eye(columns, dtype=x.dtype))
