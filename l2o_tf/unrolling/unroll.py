"""The only inner loop: any optimizer on any optimizee.

One step of the unroll, for student, teacher and baseline alike::

    g_t         = ∇f(θ_t; batch_t)
    Δθ_t, s_t+1 = update(g_t, s_t)                           a rule may also use θ_t, f(θ_t), t and the horizon
    θ_t+1       = θ_t + Δθ_t

Meta-training differentiates an objective `L(f(θ_0), ..., f(θ_T))` with respect to the meta-parameters φ of the update
rule; `l2o_tf.unrolling.meta_gradients` has the ways to do that.

Everything here is traceable and holds no state: call it inside a `tf.function`, with XLA or without.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.base import Loop, Optimizer, Params, Step
from problems.base import Problem, Seed, fold

Batches = Any
LossFn = Callable[[Params, Any], tf.Tensor]
XlaPart = Literal["window", "update"]
ValueAndGrad = Callable[[Params, Any], tuple[tf.Tensor, Params]]

_OPTIMIZER = 0x0B71  # the purpose of the optimizer's seed; problems use small numbers and their own


class UnrollState(NamedTuple):
    """What one step passes to the next.

    Attributes:
        params: `θ_t`.
        optimizer: the optimizer's state.
        index: t, steps done in this run, int32.
        horizon: steps of this run, int32; 0 if unknown.
    """

    params: Params
    optimizer: Any
    index: tf.Tensor | int = 0
    horizon: tf.Tensor | int = 0


class Trajectory(NamedTuple):
    """What a run returns.

    Attributes:
        losses: `[T+1]`, or `[T+1, K]` for K optimizees side by side; `losses[t] = f(θ_t; batch_t)` before update t,
            `losses[T]` after the last update.
        grads: `[T, N]`, or None if not recorded.
        updates: `[T, N]`, or None if not recorded.
        params: `[T, N]`, `θ_t` before update t, or None if not recorded.
    """

    losses: tf.Tensor
    grads: tf.Tensor | None = None
    updates: tf.Tensor | None = None
    params: tf.Tensor | None = None


class OwnPath(NamedTuple):
    """The ordinary path: each step begins where the optimizer's own update has led.

    Attributes:
        loss_fn: `(params, batch) -> scalar`.
        judge: `(params, batch) -> scalar`, which gives the trajectory's losses. Default: `loss_fn`.
    """

    loss_fn: LossFn
    judge: LossFn | None = None

    def look(self, params: Params, batch: Any) -> tuple[Step, tf.Tensor, Params]:
        """`(what the rule sees, the loss of the trajectory, its gradient)` at `θ_t`."""
        loss, grads = value_and_grad(self.loss_fn)(params, batch)
        judged = (loss, grads) if self.judge is None else value_and_grad(self.judge)(params, batch)
        return Step(grads, params, loss), *judged


class Sample(NamedTuple):
    """Some of the N coordinates of an optimizee, or of K optimizees side by side.

    Attributes:
        where: `[n]`, int32: which.
        weight: `[n]`: what each counts, so that sums over the sample estimate sums over all coordinates.
        optimizee: `[n]`, int32: to which of the K optimizees each belongs. None: there is only one.
    """

    where: tf.Tensor
    weight: tf.Tensor
    optimizee: tf.Tensor | None = None

    def of(self, rows: tf.Tensor) -> tf.Tensor:
        """`[..., N] -> [..., n]`."""
        return tf.gather(rows, self.where, axis=-1)

    def of_losses(self, losses: tf.Tensor) -> tf.Tensor:
        """Losses `[..., K]` as those of the sample's coordinates, `[..., n]`; `[...]` of one optimizee stay."""
        return losses if self.optimizee is None else tf.gather(losses, self.optimizee, axis=-1)


class Recorded(NamedTuple):
    """Steps of another optimizer: gradients and parameters `[T+1, N]`, losses `[T+1]` or `[T+1, K]`."""

    grads: tf.Tensor
    params: tf.Tensor
    losses: tf.Tensor


class PlayedPath(NamedTuple):
    """The optimizer sees the recorded steps of another one; its own updates have no effect. Batches are `Recorded`.

    Attributes:
        sample: which coordinates the optimizer sees; default: all.
    """

    sample: Sample | None = None
    judge: None = None

    def look(self, params: Params, batch: Recorded) -> tuple[Step, tf.Tensor, Params]:
        """As `OwnPath.look`. Recorded tensors are constants: no gradient leads back to `params`."""
        grads, seen, losses = batch
        if self.sample is not None:
            grads, seen, losses = self.sample.of(grads), self.sample.of(seen), self.sample.of_losses(losses)
        grads, seen = (nest.unflatten(x, like=params) for x in (grads, seen))
        return Step(grads, seen, losses), batch.losses, tf.nest.map_structure(tf.zeros_like, params)


Path = OwnPath | PlayedPath


def xla_part(problem: Problem, jit_compile: bool) -> XlaPart | None:
    """Which part of a window on this problem XLA compiles.

    Returns:
        `"window"`: all of it. `"update"`: only the optimizer's part of each step, if `Problem.xla` is False. None:
        nothing, without `jit_compile`.
    """
    if not jit_compile:
        return None
    return "window" if problem.xla else "update"


def initial_state(optimizer: Optimizer, params: Params, seed: Seed, horizon: tf.Tensor | int = 0) -> UnrollState:
    """The state before the first step.

    Args:
        optimizer: any `Optimizer`.
        params: `θ_0`.
        seed: of the run; the problem's `init` gets the same. The optimizer's random numbers follow from it and are
            independent of the problem's. So runs with the same seed are paired.
        horizon: steps of the run; default 0, unknown.
    """
    state = optimizer.initial_state(params, fold(seed, _OPTIMIZER))
    return UnrollState(params, state, tf.zeros([], tf.int32), tf.convert_to_tensor(horizon, tf.int32))


def value_and_grad(loss_fn: LossFn) -> ValueAndGrad:
    """`(θ, batch) -> (f(θ), ∇f(θ))`, both differentiable again."""

    def evaluate(params, batch):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = loss_fn(params, batch)
        return loss, tape.gradient(loss, params, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return evaluate


def unroll(
    loss_fn: LossFn,
    optimizer: Optimizer,
    state: UnrollState,
    batches: Batches,
    *,
    record: bool = False,
    judge: LossFn | None = None,
    xla: XlaPart | None = None,
    shape: Sequence[int] = (),
    num_steps: tf.Tensor | None = None,
) -> tuple[UnrollState, Trajectory]:
    """Runs `optimizer` on `loss_fn` for T steps, or fewer.

    Args:
        loss_fn: `(params, batch) -> scalar`.
        optimizer: any `Optimizer`.
        state: from `initial_state`, or what the last window returned.
        batches: nest of tensors with a leading axis of T+1; the last one is for `f(θ_T)`.
        record: whether the trajectory keeps gradients, updates and parameters.
        judge: `(params, batch) -> scalar`, which gives the trajectory's losses. Default: `loss_fn`. L2O-Scale, for
            example, gets gradients of minibatches, but the losses are those of the whole data set.
        xla: which part XLA compiles, see `xla_part`; default: nothing.
        shape: of a loss. Default `()`; `(K,)` for K optimizees side by side, whose tensors have a leading axis of K.
        num_steps: S ≤ T, int32 scalar: how many steps are taken. One compiled program works for any S. The rest of the
            trajectory is 0. Default: T.

    Returns:
        The state after these steps, and the `Trajectory`.
    """

    def run(state, batches, num_steps):
        path, loop = OwnPath(loss_fn, judge), optimizer.loop()
        return run_steps(path, loop, state, batches, record=record, xla=xla, shape=shape, limit=num_steps)[:2]

    return of_window(run, xla)(state, batches, num_steps)


def run_steps(
    path: Path,
    loop: Loop,
    state: UnrollState,
    batches: Batches,
    *,
    record: bool,
    xla: XlaPart | None,
    shape: Sequence[int],
    kept: Sequence[str] = (),
    limit: tf.Tensor | None = None,
) -> tuple[UnrollState, Trajectory, dict[str, Any]]:
    """The loop of `unroll`.

    Args:
        path: which steps the rule sees.
        loop: the optimizer's loop.
        state, batches, record, xla, shape: as in `unroll`.
        kept: which rows are kept, one per step: what the rule sees, `"grads"` and `"params" [T, N]` and `"loss"
            [T, *shape]`; its `"updates" [T, N]`; the gradients of the judged losses, `"slopes" [T, N]`; its `"states"`
            before each step, in the loop's layout.
        limit: `num_steps` of `unroll`.

    Returns:
        `(state, trajectory, rows)`. Besides what was asked for, the rows have `"start"`, the optimizer's state before
        the first step, and `"last" [N]`, the gradient of the last judged loss.
    """
    recorded = ("grads", "updates", "params") if record else ()
    kept = sorted({*kept, *recorded})
    update = compiled(loop.update) if xla == "update" else loop.update
    longest = length(batches) - 1
    num_steps = longest if limit is None else limit
    start, like, index = loop.enter(state.optimizer), nest.flatten(state.params), tf.convert_to_tensor(state.index)
    losses = tf.TensorArray(like.dtype, longest + 1, element_shape=shape)
    examples = {"states": start, "loss": tf.zeros(shape, like.dtype)}
    rows = {
        name: tf.nest.map_structure(lambda x: nest.rows_like(x, longest), examples.get(name, like)) for name in kept
    }

    def step(t, params, memory, losses, rows):
        seen, loss, slope = path.look(params, _at(batches, t))
        seen = seen._replace(index=index + t, horizon=state.horizon)
        updates, after = update(seen, memory)
        vectors = {"grads": seen.grads, "updates": updates, "slopes": slope, "params": seen.params}
        found = {name: nest.flatten(vectors[name]) for name in kept if name in vectors}
        found |= {"states": memory, "loss": seen.loss}
        rows = {name: tf.nest.map_structure(lambda row, x: row.write(t, x), rows[name], found[name]) for name in kept}
        return t + 1, nest.add(params, updates), after, losses.write(t, loss), rows

    _, params, memory, losses, rows = tf.while_loop(
        lambda t, *_: t < num_steps, step, (0, state.params, start, losses, rows), maximum_iterations=longest
    )
    _, loss, slope = path.look(params, _at(batches, num_steps))
    rows = tf.nest.map_structure(lambda row: row.stack(), rows)
    after = UnrollState(params, loop.leave(memory), index + num_steps, state.horizon)
    trajectory = Trajectory(losses.write(num_steps, loss).stack(), **{name: rows[name] for name in recorded})
    return after, trajectory, {**rows, "start": start, "last": nest.flatten(slope)}


def of_window(function: Callable, xla: XlaPart | None) -> Callable:
    """The function of a window, compiled by XLA if `xla` is `"window"`."""
    return compiled(function) if xla == "window" else function


def compiled(function: Callable) -> Callable:
    """The function, compiled by XLA."""
    return tf.function(function, jit_compile=True, autograph=False)


def replayed(params: Params, grads: tf.Tensor) -> tf.Tensor:
    """`f_t(θ) = ⟨g_t, θ⟩`: the linear problem whose gradient is the recorded `g_t [N]`, wherever θ is."""
    return tf.reduce_sum(nest.flatten(params) * grads)


def length(rows: Batches) -> int | tf.Tensor:
    """The leading axis of all tensors: a Python int where it is static."""
    tensor = tf.nest.flatten(rows)[0]
    return tensor.shape[0] if tensor.shape[0] is not None else tf.shape(tensor)[0]


def _at(batches: Batches, t) -> Any:
    """Minibatch t, by `tf.gather`: with a slice, XLA would compile a program for each t from outside the loop."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, t), batches)
