"""The backward pass of a window, through the optimizer only. `first_order.py` says what is computed.

Memory stays bounded in this way. A step of the backward pass needs the optimizer's state before that step. All states
of a window take T times the memory of one. If that is too much, and the rule treats coordinates one by one, the window
is replayed for one block of coordinates at a time. The gradients are known, so states and parameters follow without the
optimizee. Memory then does not grow with T times N, but the optimizer runs once more.

In the backward pass, no coordinate depends on another. So on a CPU, XLA compiles the whole recursion for a block that
fits into a core's cache, and the cores work on blocks at the same time. The sum over blocks has a fixed order. On a
GPU, all coordinates are computed together.
"""

import functools
import math
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.common import devices, nest
from l2o_tf.optimizers.base import Loop, Params, Step, Update
from l2o_tf.unrolling.unroll import length

MAX_BYTES = 2**30
"""Up to this size, the states of a window are stored. Else it is replayed in blocks, which take half of this."""

SHARES = 16
"""The largest number of calls that share the blocks. They run at the same time, one on each core."""

REPLAYED_AT_ONCE = 4
"""The memory is enough to replay this many blocks at the same time."""


class Kept(NamedTuple):
    """What the forward pass stores of a window of T steps on N coordinates.

    Attributes:
        grads: `[T, N]`, what the optimizer saw.
        slopes: `[T, N]`, gradients of the trajectory's losses; None if they are `grads`.
        last: `[N]`, the gradient of the last loss.
        start: the optimizer's state before the first step, in the loop's layout.
        states: the states before each step; None if the window is replayed.
        params: `[T, N]`, the parameters that the optimizer saw; None if they follow from `theta` and the updates.
        loss: `[T]`, or `[T, K]` for K optimizees side by side: the losses that the optimizer saw.
        theta: `[N]`, the parameters before the first step; None if `params` are another optimizer's. Then no cotangent
            leads back to them.
        index: steps done before the first step, int32.
        horizon: steps of the run, int32.
    """

    grads: tf.Tensor
    slopes: tf.Tensor | None
    last: tf.Tensor
    start: Any
    states: Any
    params: tf.Tensor | None
    loss: tf.Tensor
    theta: tf.Tensor | None
    index: tf.Tensor
    horizon: tf.Tensor

    def step(self, t, theta: tf.Tensor, like: Params) -> Step:
        """What the optimizer saw in step t, at these parameters `[N]`."""
        grads, params = (nest.unflatten(x, like) for x in (self.grads[t], theta))
        return Step(grads, params, self.loss[t], self.index + t, self.horizon)


class Weights(NamedTuple):
    """Derivatives of the objective `L` of a window.

    Attributes:
        losses: `w_t = ∂L/∂f(θ_t)`, `[T+1, 1]`. For several optimizees side by side `[T+1, N]`: each coordinate has the
            `w_t` of its optimizee.
        updates: `∂L/∂Δθ_t [T, N]`, or None.
    """

    losses: tf.Tensor
    updates: tf.Tensor | None


def replayed_size(loop: Loop, state: Any, num_coordinates: int, num_steps) -> int | None:
    """Coordinates per block if the window is replayed; None if its states are stored."""
    if loop.blocks is None or not isinstance(num_steps, int) or not tf.nest.flatten(state):
        return None
    if loop.blocks.size:
        return loop.blocks.size
    bytes_each = _bytes_of_states(state, num_steps) / num_coordinates
    if bytes_each * num_coordinates <= MAX_BYTES:
        return None
    return max(1, min(int(MAX_BYTES / 2 / REPLAYED_AT_ONCE / bytes_each), _cached(loop) or num_coordinates))


def _cached(loop: Loop) -> int | None:
    """How many coordinates of this rule are best taken at a time; None: as many as the memory allows."""
    return None if loop.blocks is None or devices.has_gpu() else loop.blocks.cached


def _bytes_of_states(state: Any, num_steps: int) -> int:
    return num_steps * sum(math.prod(x.shape) * x.dtype.size for x in tf.nest.flatten(state))


def _num_shares(kept: Kept, size: int) -> int:
    """In how many calls blocks of this size are shared out."""
    if kept.states is not None:
        return SHARES
    num_steps, num_coordinates = kept.grads.shape
    of_a_block = _bytes_of_states(kept.start, num_steps) * size / num_coordinates
    return max(1, min(SHARES, int(MAX_BYTES / 2 / of_a_block)))


def _block_size(loop: Loop, kept: Kept, jit_compile: bool) -> int | None:
    """Coordinates per block of the backward pass; None where it takes them all together, as a GPU wants it."""
    num_coordinates, num_steps = kept.grads.shape[1], length(kept.grads)
    replayed = replayed_size(loop, kept.start, num_coordinates, num_steps) if kept.states is None else None
    if replayed is not None:
        return replayed
    if not jit_compile or _cached(loop) is None or not isinstance(num_steps, int):
        return None
    count = -(-num_coordinates // _cached(loop))
    count = count if count > SHARES else 2 ** math.ceil(math.log2(count))  # so that no core waits for another
    return min(num_coordinates, 16 * -(-num_coordinates // (16 * count)))  # alike, in vectors of 16


def pull_back(
    loop: Loop, phi: list, like: Params, kept: Kept, weights: Weights, *, jit_compile: bool = False
) -> list[tf.Tensor]:
    """The first-order meta-gradient.

    Args:
        loop: the optimizer, whose meta-parameters are `phi`.
        phi: variables.
        like: parameters of the optimizee, for their names and shapes.
        kept: from the forward pass.
        weights: of its losses and updates.
        jit_compile: whether XLA compiles it, as calls of their own.
    """
    if not phi:
        return []
    xla = functools.partial(tf.function, jit_compile=jit_compile, autograph=False)
    size = _block_size(loop, kept, jit_compile)
    if size is None:
        return xla(lambda kept, weights: _backward(loop.update, phi, like, kept, weights))(kept, weights)
    count = -(-kept.grads.shape[1] // size)
    each = -(-count // _num_shares(kept, size))

    @xla
    def share(number, kept, weights):
        end, zero = tf.minimum((number + 1) * each, count), [tf.zeros_like(x) for x in phi]

        def block(number, phi_bar):
            return number + 1, _sum(phi_bar, _of_a_block(loop, phi, like, kept, weights, number, size))

        return tf.while_loop(lambda number, _: number < end, block, (number * each, zero))[1]

    shares = [share(_number(k), kept, weights) for k in range(-(-count // each))]
    return [tf.add_n(parts) for parts in zip(*shares, strict=True)]


def _number(value: int) -> tf.Tensor:
    """A constant that TensorFlow takes for none: else it compiles every share by itself."""
    return tf.raw_ops.PlaceholderWithDefault(input=value, shape=[])


def _of_a_block(loop: Loop, phi, like: Params, kept: Kept, weights: Weights, number, size: int) -> list[tf.Tensor]:
    """`pull_back` of the coordinates of a block, without those that it shares with the one before.

    The last block ends with the last coordinate, and so begins before the end of the one before.
    """
    first = tf.minimum(number * size, kept.grads.shape[1] - size)
    mask = 1.0 - tf.cast(first + tf.range(size) < number * size, kept.grads.dtype)

    def cut(rows):
        return None if rows is None else tf.slice(rows, [0, first], [rows.shape[0], size])

    grads = cut(kept.grads)
    block = kept._replace(
        grads=grads,
        slopes=mask * (grads if kept.slopes is None else cut(kept.slopes)),
        last=mask * tf.slice(kept.last, [first], [size]),
        start=loop.blocks.cut(kept.start, first, size),
        params=cut(kept.params),
        loss=kept.loss if kept.loss.shape.rank == 1 else cut(nest.per_coordinate(kept.loss, like)),
        theta=None if kept.theta is None else tf.slice(kept.theta, [first], [size]),
    )
    updates = None if weights.updates is None else mask * cut(weights.updates)
    losses = weights.losses if weights.losses.shape[1] == 1 else cut(weights.losses)
    weights, like = Weights(losses, updates), {"block": block.last}
    return _backward(
        loop.blocks.update, phi, like, block, weights, cut=lambda state: loop.blocks.cut(state, first, size)
    )


def _replayed(update: Update, like: Params, block: Kept) -> Kept:
    """The same coordinates, `{"block": [n]}`, with the states and parameters before each step."""
    num_steps = length(block.grads)
    theta = like["block"] if block.theta is None else block.theta

    def step(t, theta, state, rows):
        found = {"states": state, "params": theta if block.params is None else block.params[t]}
        rows = tf.nest.map_structure(lambda row, x: row.write(t, x), rows, found)
        updates, state = update(block.step(t, found["params"], like), state)
        return t + 1, theta + updates["block"], state, rows

    rows = tf.nest.map_structure(lambda x: nest.rows_like(x, num_steps), {"states": block.start, "params": theta})
    begin = (0, theta, block.start, rows)
    rows = tf.while_loop(lambda t, *_: t < num_steps, step, begin, maximum_iterations=num_steps)[-1]
    return block._replace(**tf.nest.map_structure(lambda row: row.stack(), rows))


def _backward(update, phi, like, kept: Kept, weights: Weights, cut=lambda state: state) -> list[tf.Tensor]:
    """The recursion of λ, σ and dφ in `first_order.py`; `cut` is what `update` is to see of a state that was kept."""
    if kept.states is None:
        kept, cut = _replayed(update, like, kept), lambda state: state
    num_steps = length(kept.grads)
    slopes = kept.grads if kept.slopes is None else kept.slopes

    def state_before(t):
        return cut(tf.nest.map_structure(lambda rows: rows[t], kept.states))

    def step(back, theta_bar, state_bar, phi_bar):
        t = num_steps - 1 - back
        seen, state = kept.step(t, kept.params[t], like), state_before(t)
        moving = _floating(state)
        with tf.GradientTape() as tape:
            tape.watch([moving, seen.params])
            updates, after = update(seen, state)
            ends = [nest.flatten(updates), *_floating(after)]
        update_bar = theta_bar if weights.updates is None else theta_bar + weights.updates[t]
        found = tape.gradient(ends, [phi, moving, seen.params], [update_bar, *state_bar], tf.UnconnectedGradients.ZERO)
        theta_bar = theta_bar + weights.losses[t] * slopes[t]
        if kept.theta is not None:
            theta_bar = theta_bar + nest.flatten(found[2])
        return back + 1, theta_bar, found[1], _sum(phi_bar, found[0])

    state_bar = [tf.zeros_like(x) for x in _floating(state_before(0))]
    start = (0, weights.losses[num_steps] * kept.last, state_bar, [tf.zeros_like(x) for x in phi])
    return tf.while_loop(lambda back, *_: back < num_steps, step, start, maximum_iterations=num_steps)[3]


def _floating(state) -> list[tf.Tensor]:
    return [x for x in tf.nest.flatten(state) if x.dtype.is_floating]


def _sum(totals, parts):
    return [total + part for total, part in zip(totals, parts, strict=True)]
