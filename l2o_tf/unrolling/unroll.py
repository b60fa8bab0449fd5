"""The only inner loop: any optimizer on any optimizee, and the meta-gradient through it.

One step of the unroll, for student, teacher and baseline alike::

    g_t         = ∇f(θ_t; batch_t)
    Δθ_t, s_t+1 = update(g_t, s_t)
    θ_t+1       = θ_t + Δθ_t

Meta-training differentiates an objective `L(f(θ_0), ..., f(θ_T))` with respect to the meta-parameters φ of the update
rule. As in the original programs the gradients `g_t` count as constants ("first order"). Then the backward pass needs
nothing of the optimizee but what the forward pass has already computed: with `w_t = ∂L/∂f(θ_t)` the cotangent of `θ_t`
is a sum of gradients, and the optimizer is pulled back step by step, from the states that it had::

    λ_T   = w_T g_T
    dφ   += (∂Δθ_t/∂φ)ᵀ λ_t+1 + (∂s_t+1/∂φ)ᵀ σ_t+1           t = T-1 ... 0
    σ_t   = (∂Δθ_t/∂s)ᵀ λ_t+1 + (∂s_t+1/∂s)ᵀ σ_t+1
    λ_t   = λ_t+1 + w_t g_t                                  (plus (∂Δθ_t/∂θ)ᵀ λ_t+1, for a rule that looks at θ)

So the optimizee is never differentiated twice, and a step leaves nothing behind but the states, the gradient and the
parameters: what a cell computes in between is computed again. `pull_back.py` has the backward pass.
`second_derivatives=True` differentiates the whole run instead, gradients included.

Everything here is traceable and holds no state: call it inside a `tf.function`, with XLA or without.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.base import Loop, Optimizer, Params, Step
from l2o_tf.unrolling.meta_gradients.pull_back import Kept, Weights, pull_back, replayed_size
from problems.base import Problem, Seed, fold

Batches = Any
LossFn = Callable[[Params, Any], tf.Tensor]
XlaPart = Literal["window", "update"]
ValueAndGrad = Callable[[Params, Any], tuple[tf.Tensor, Params]]

_OPTIMIZER = 0x0B71  # the purpose of the optimizer's seed; problems use small numbers and their own


class UnrollState(NamedTuple):
    """What one step hands to the next: `θ_t` and the optimizer's state."""

    params: Params
    optimizer: Any


class Trajectory(NamedTuple):
    """What a run leaves behind.

    Attributes:
        losses: `[T+1]`, of K optimizees side by side `[T+1, K]`; `losses[t] = f(θ_t; batch_t)` before update t,
            `losses[T]` after the last update.
        grads: `[T, N]` or None when not recorded.
        updates: `[T, N]` or None when not recorded.
    """

    losses: tf.Tensor
    grads: tf.Tensor | None = None
    updates: tf.Tensor | None = None


def xla_part(problem: Problem, jit_compile: bool) -> XlaPart | None:
    """What XLA is to compile of a window on this problem.

    Returns:
        `"window"`: all of it; `"update"`: the optimizer's part of each step on its own, for optimizees that are not to
        be compiled with it (`Problem.xla`); None without `jit_compile`.
    """
    if not jit_compile:
        return None
    return "window" if problem.xla else "update"


def initial_state(optimizer: Optimizer, params: Params, seed: Seed) -> UnrollState:
    """The state before the first step.

    Args:
        optimizer: any `Optimizer`.
        params: `θ_0`.
        seed: of the run, the same that the problem's `init` gets. What the optimizer draws is derived from it and
            independent of what the problem draws, so that runs with the same seed are paired.
    """
    return UnrollState(params, optimizer.initial_state(params, fold(seed, _OPTIMIZER)))


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
    side_by_side: int | None = None,
    num_steps: tf.Tensor | None = None,
) -> tuple[UnrollState, Trajectory]:
    """Runs `optimizer` on `loss_fn` for T steps, or fewer.

    Args:
        loss_fn: `(params, batch) -> scalar`.
        optimizer: any `Optimizer`.
        state: from `initial_state`, or what the last window returned.
        batches: nest of tensors with a leading axis of T+1; the last one is for `f(θ_T)`.
        record: whether the trajectory keeps gradients and updates.
        judge: `(params, batch) -> scalar`, what the trajectory's losses are if not those whose gradients the optimizer
            gets: L2O-Scale learns from minibatches and is judged by the whole data set.
        xla: what XLA compiles, see `xla_part`; default: nothing of its own.
        side_by_side: K, where the parameters are those of K optimizees, each tensor with a leading axis of K; then
            `loss_fn` and `judge` return `[K]`, and losses are `[T+1, K]`. Default: one optimizee.
        num_steps: S ≤ T, int32 scalar: the steps that are taken. One compiled program serves any S. The rest of the
            trajectory is 0. Default: T.

    Returns:
        The state after these steps, and the `Trajectory`.
    """
    kept = ("grads", "updates") if record else ()

    def run(state, batches, num_steps):
        return _run(loss_fn, optimizer.loop(), state, batches, judge, xla, side_by_side, kept, num_steps)

    state, losses, rows = _of_window(run, xla)(state, batches, num_steps)
    return state, Trajectory(losses, **rows)


def meta_gradient(
    loss_fn: LossFn,
    optimizer: Optimizer,
    state: UnrollState,
    batches: Batches,
    objective: Callable[[Trajectory], tf.Tensor],
    *,
    second_derivatives: bool = False,
    record: bool = False,
    judge: LossFn | None = None,
    xla: XlaPart | None = None,
    side_by_side: int | None = None,
) -> tuple[tf.Tensor, list[tf.Tensor], UnrollState, Trajectory]:
    """`∂ objective(trajectory) / ∂φ` over one truncation window.

    The incoming state counts as a constant: this is truncated backpropagation through time.

    Args:
        objective: `Trajectory -> scalar`, see `l2o_tf.unrolling.objectives`.
        second_derivatives: whether the losses and gradients are differentiated truly; default: first order.
        loss_fn, optimizer, state, batches, record, judge, side_by_side: as in `unroll`.
        xla: as in `unroll`; with `"update"`, of no effect on second derivatives, which flow through both parts. The
            backward pass is compiled by itself: on a processor its blocks then run on several cores.

    Returns:
        `(meta_loss, gradients, state, trajectory)`; the gradients in the order of `optimizer.trainable_variables`.
    """
    phi = [variable.value for variable in optimizer.trainable_variables]
    settings = {"record": record, "judge": judge, "xla": xla, "side_by_side": side_by_side}
    if second_derivatives:
        return _second_order(loss_fn, optimizer, state, batches, objective, phi, settings)
    names = ("grads", "updates", "slopes", "last", "params", "states")
    kept = [name for name in names if (name != "updates" or record) and (name != "slopes" or judge)]
    loop, like = optimizer.loop(), state.params

    def forward(state, batches):
        after, losses, rows = _run(loss_fn, loop, state, batches, judge, xla, side_by_side, kept)
        trajectory = Trajectory(losses, rows["grads"] if record else None, rows.pop("updates", None))
        judged = [losses, trajectory.updates] if record else [losses]
        with tf.GradientTape() as tape:
            tape.watch(judged)
            meta_loss = objective(trajectory)
        found = tape.gradient(meta_loss, judged, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        weights = Weights(_per_coordinate(found[0], like, side_by_side), found[1] if record else None)
        return meta_loss, after, trajectory, Kept(slopes=rows.pop("slopes", None), **rows), weights

    meta_loss, after, trajectory, kept, weights = _of_window(forward, xla)(state, batches)
    gradients = pull_back(loop, phi, like, kept, weights, jit_compile=xla is not None)
    return meta_loss, gradients, after, trajectory


def _second_order(loss_fn, optimizer: Optimizer, state, batches, objective, phi: list, settings: dict):
    """`meta_gradient` by differentiating the whole run."""

    def whole(state, batches):
        with tf.GradientTape() as tape:
            state, trajectory = unroll(loss_fn, optimizer, state, batches, **{**settings, "xla": None})
            meta_loss = objective(trajectory)
        gradients = tape.gradient(meta_loss, phi, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return meta_loss, gradients, state, trajectory

    return _of_window(whole, settings["xla"])(state, batches)


def _run(loss_fn, loop: Loop, state, batches, judge, xla, side_by_side, kept: Sequence[str], num_steps=None):
    """The loop: `(state, losses [T+1], {name: [T, ...]})`, with a row per step for each name in `kept`.

    Rows may be those of `Kept`, of which states and parameters are None where the window is to be replayed, and the
    `"updates"`.
    """
    evaluate, measure = value_and_grad(loss_fn), value_and_grad(judge) if judge else None
    update = _compiled(loop.update) if xla == "update" else loop.update
    longest = _leading_axis(batches) - 1
    num_steps = longest if num_steps is None else num_steps
    start, like = loop.enter(state.optimizer), nest.flatten(state.params)
    replay = replayed_size(loop, start, like.shape[0], longest) is not None
    own = [name for name in kept if name != "last" and not (replay and name in ("states", "params"))]
    rows = {
        name: tf.nest.map_structure(lambda x: nest.rows_like(x, longest), start if name == "states" else like)
        for name in own
    }
    losses = tf.TensorArray(like.dtype, longest + 1, element_shape=[side_by_side] if side_by_side else [])

    def judged(params, batch):
        loss, grads = evaluate(params, batch)
        return grads, *((loss, grads) if measure is None else measure(params, batch))

    def step(t, params, memory, losses, rows):
        grads, loss, slope = judged(params, _at(batches, t))
        updates, after = update(Step(grads, params), memory)
        vectors = {"grads": grads, "updates": updates, "slopes": slope, "params": params}
        found = {name: memory if name == "states" else nest.flatten(vectors[name]) for name in own}
        rows = {name: tf.nest.map_structure(lambda row, x: row.write(t, x), rows[name], found[name]) for name in own}
        return t + 1, nest.add(params, updates), after, losses.write(t, loss), rows

    _, params, memory, losses, rows = tf.while_loop(
        lambda t, *_: t < num_steps, step, (0, state.params, start, losses, rows), maximum_iterations=longest
    )
    _, loss, slope = judged(params, _at(batches, num_steps))
    rows = tf.nest.map_structure(lambda row: row.stack(), rows)
    if "last" in kept:
        rows = {"states": None, "params": None, **rows, "last": nest.flatten(slope), "start": start}
    return UnrollState(params, loop.leave(memory)), losses.write(num_steps, loss).stack(), rows


def _per_coordinate(weights: tf.Tensor, params: Params, side_by_side: int | None) -> tf.Tensor:
    """Weights of the losses as `pull_back.Weights` has them, from `[T+1]`, or from `[T+1, K]` of K optimizees."""
    if side_by_side is None:
        return weights[:, None]
    return nest.per_coordinate(weights, params)


def _of_window(function, xla: XlaPart | None):
    return _compiled(function) if xla == "window" else function


def _compiled(function):
    return tf.function(function, jit_compile=True, autograph=False)


def replayed(params: Params, grads: tf.Tensor) -> tf.Tensor:
    """`f_t(θ) = ⟨g_t, θ⟩`: the linear problem whose gradient is the recorded `g_t [N]`, wherever θ is.

    Unrolling an optimizer on it plays recorded gradients to the optimizer; imitation learning does that with a
    teacher's.
    """
    return tf.reduce_sum(nest.flatten(params) * grads)


def _at(batches: Batches, t) -> Any:
    """Minibatch t, by `tf.gather`: with a slice, XLA would compile a program for each t from outside the loop."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, t), batches)


def _leading_axis(batches: Batches):
    tensor = tf.nest.flatten(batches)[0]
    return tensor.shape[0] if tensor.shape[0] is not None else tf.shape(tensor)[0]
