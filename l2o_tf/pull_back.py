"""The backward pass of a window: cotangents of the trajectory, pulled back through the optimizer alone.

`l2o_tf.unroll` says what is computed. Here is how memory stays bounded. A step of the backward pass needs the state
that the optimizer had, and all states of a window are T times as much as one. Where that is too much, and the rule
treats coordinates one by one, the window is replayed for a block of coordinates at a time: the gradients it saw are
known, so its states follow without the optimizee. Memory then does not grow with T times N, at the price of running the
optimizer once more.
"""

import math
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf import nest
from l2o_tf.optimizers.base import Loop, Params

MAX_BYTES = 2**30
"""States of a window are kept up to that many; else it is replayed in blocks, whose states are half of that."""


class Kept(NamedTuple):
    """What the forward pass keeps of a window of T steps on N coordinates.

    Attributes:
        grads: `[T, N]`, what the optimizer saw.
        slopes: `[T, N]`, gradients of the losses that are judged; None where those are `grads`.
        last: `[N]`, the gradient of the last loss.
        start: the optimizer's state before the first step, in the loop's layout.
        states: the states before each step; None where the window is to be replayed.
        params: `[T, N]`, or None together with `states`.
    """

    grads: tf.Tensor
    slopes: tf.Tensor | None
    last: tf.Tensor
    start: Any
    states: Any
    params: tf.Tensor | None


class Weights(NamedTuple):
    """What the objective `L` makes of a window.

    Attributes:
        losses: `w_t = ∂L/∂f(θ_t)`, `[T+1, 1]`; of several optimizees side by side `[T+1, N]`, for each coordinate that
            of its own.
        updates: `∂L/∂Δθ_t [T, N]`, or None.
    """

    losses: tf.Tensor
    updates: tf.Tensor | None


def block_size(loop: Loop, state: Any, num_coordinates: int, num_steps) -> int | None:
    """Coordinates per block of a window that is to be replayed; None for one whose states are to be kept."""
    tensors = tf.nest.flatten(state)
    if loop.blocks is None or not isinstance(num_steps, int) or not tensors:
        return None
    if loop.blocks.size:
        return loop.blocks.size
    bytes_each = num_steps * sum(math.prod(x.shape) * x.dtype.size for x in tensors) / num_coordinates
    return None if bytes_each * num_coordinates <= MAX_BYTES else max(1, int(MAX_BYTES / 2 / bytes_each))


def pull_back(loop: Loop, phi: list, like: Params, kept: Kept, weights: Weights) -> list[tf.Tensor]:
    """The first-order meta-gradient.

    Args:
        loop: the optimizer, whose meta-parameters are `phi`.
        phi: variables.
        like: parameters of the optimizee, for their names and shapes.
        kept: from the forward pass.
        weights: of its losses and updates.
    """
    if not phi:
        return []
    num_coordinates, num_steps = kept.grads.shape[1], _length(kept.grads)
    if kept.states is not None:
        return _backward(loop.update, phi, like, kept, weights, num_steps)
    size = block_size(loop, kept.start, num_coordinates, num_steps)

    def block(number, phi_bar):
        first = tf.minimum(number * size, num_coordinates - size)  # the last block overlaps with the one before
        done = tf.cast(first + tf.range(size) < number * size, kept.grads.dtype)
        found = _replayed(loop, phi, kept, weights, first, size, 1.0 - done)
        return number + 1, _sum(phi_bar, found)

    count = -(-num_coordinates // size)
    return tf.while_loop(lambda number, _: number < count, block, (0, [tf.zeros_like(x) for x in phi]))[1]


def _replayed(loop, phi, kept: Kept, weights: Weights, first, size: int, mask) -> list[tf.Tensor]:
    """`pull_back` of the coordinates `first ... first + size - 1`, each counted as `mask [size]` says."""

    def cut(rows):
        return None if rows is None else tf.slice(rows, [0, first], [rows.shape[0], size])

    num_steps, grads = kept.grads.shape[0], cut(kept.grads)
    params = {"block": tf.zeros([size], grads.dtype)}

    def step(t, state, rows):
        rows = tf.nest.map_structure(lambda row, x: row.write(t, x), rows, state)
        return t + 1, loop.blocks.update({"block": grads[t]}, state, params)[1], rows

    start = loop.blocks.cut(kept.start, first, size)
    rows = tf.nest.map_structure(lambda x: nest.rows_like(x, num_steps), start)
    _, _, rows = tf.while_loop(lambda t, *_: t < num_steps, step, (0, start, rows), maximum_iterations=num_steps)
    states = tf.nest.map_structure(lambda row: row.stack(), rows)
    slopes = mask * (grads if kept.slopes is None else cut(kept.slopes))
    last = mask * kept.last[first : first + size]
    updates = None if weights.updates is None else mask * cut(weights.updates)
    losses = weights.losses if weights.losses.shape[1] == 1 else cut(weights.losses)
    block = Kept(grads, slopes, last, start, states, tf.zeros_like(grads))
    return _backward(loop.blocks.update, phi, params, block, Weights(losses, updates), num_steps)


def _backward(update, phi, like, kept: Kept, weights: Weights, num_steps) -> list[tf.Tensor]:
    """The recursion of λ, σ and dφ in the docstring of `l2o_tf.unroll`, from the last step to the first."""
    slopes = kept.grads if kept.slopes is None else kept.slopes

    def step(back, theta_bar, state_bar, phi_bar):
        t = num_steps - 1 - back
        grads, params = (nest.unflatten(rows[t], like) for rows in (kept.grads, kept.params))
        state = tf.nest.map_structure(lambda rows: rows[t], kept.states)
        moving = _floating(state)
        with tf.GradientTape() as tape:
            tape.watch([moving, params])
            updates, after = update(grads, state, params)
            ends = [nest.flatten(updates), *_floating(after)]
        update_bar = theta_bar if weights.updates is None else theta_bar + weights.updates[t]
        found = tape.gradient(ends, [phi, moving, params], [update_bar, *state_bar], tf.UnconnectedGradients.ZERO)
        theta_bar = theta_bar + weights.losses[t] * slopes[t] + nest.flatten(found[2])
        return back + 1, theta_bar, found[1], _sum(phi_bar, found[0])

    state_bar = [tf.zeros_like(x[0]) for x in _floating(kept.states)]
    start = (0, weights.losses[num_steps] * kept.last, state_bar, [tf.zeros_like(x) for x in phi])
    return tf.while_loop(lambda back, *_: back < num_steps, step, start, maximum_iterations=num_steps)[3]


def _floating(state) -> list[tf.Tensor]:
    return [x for x in tf.nest.flatten(state) if x.dtype.is_floating]


def _sum(totals, parts):
    return [total + part for total, part in zip(totals, parts, strict=True)]


def _length(rows: tf.Tensor):
    return rows.shape[0] if rows.shape[0] is not None else tf.shape(rows)[0]
