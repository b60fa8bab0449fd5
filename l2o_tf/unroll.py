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
parameters: what a cell computes in between is computed again. `second_derivatives=True` differentiates the whole run
instead, gradients included.

Everything here is traceable and holds no state: call it inside a `tf.function`, with XLA or without.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf import nest
from l2o_tf.optimizers.base import Optimizer, Params
from problems.base import Seed, fold

Batches = Any
LossFn = Callable[[Params, Any], tf.Tensor]
ValueAndGrad = Callable[[Params, Any], tuple[tf.Tensor, Params]]

_OPTIMIZER = 0x0B71  # the purpose of the optimizer's seed; problems use small numbers and their own


class UnrollState(NamedTuple):
    """What one step hands to the next: `θ_t` and the optimizer's state."""

    params: Params
    optimizer: Any


class Trajectory(NamedTuple):
    """What a run leaves behind.

    Attributes:
        losses: `[T+1]`; `losses[t] = f(θ_t; batch_t)` before update t, `losses[T]` after the last update.
        grads: `[T, N]` or None when not recorded.
        updates: `[T, N]` or None when not recorded.
    """

    losses: tf.Tensor
    grads: tf.Tensor | None = None
    updates: tf.Tensor | None = None


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
    jit_update: bool = False,
) -> tuple[UnrollState, Trajectory]:
    """Runs `optimizer` on `loss_fn` for T steps.

    Args:
        loss_fn: `(params, batch) -> scalar`.
        optimizer: any `Optimizer`.
        state: from `initial_state`, or what the last window returned.
        batches: nest of tensors with a leading axis of T+1; the last one is for `f(θ_T)`.
        record: whether the trajectory keeps gradients and updates.
        judge: `(params, batch) -> scalar`, what the trajectory's losses are if not those whose gradients the optimizer
            gets: L2O-Scale learns from minibatches and is judged by the whole data set.
        jit_update: whether XLA compiles the optimizer's part of a step on its own, for optimizees that are not to be
            compiled with it (`Problem.xla`).

    Returns:
        The state after T steps, and the `Trajectory`.
    """
    kept = ("grads", "updates") if record else ()
    state, losses, rows = _run(loss_fn, optimizer, state, batches, judge, jit_update, kept)
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
    jit_update: bool = False,
) -> tuple[tf.Tensor, list[tf.Tensor], UnrollState, Trajectory]:
    """`∂ objective(trajectory) / ∂φ` over one truncation window.

    The incoming state counts as a constant: this is truncated backpropagation through time.

    Args:
        objective: `Trajectory -> scalar`, see `l2o_tf.objectives`.
        second_derivatives: whether the losses and gradients are differentiated truly; default: first order.
        loss_fn, optimizer, state, batches, record, judge: as in `unroll`.
        jit_update: as in `unroll`, and so is the backward pass; of no effect with second derivatives, which flow
            through both parts.

    Returns:
        `(meta_loss, gradients, state, trajectory)`; the gradients in the order of `optimizer.trainable_variables`.
    """
    phi = [variable.value for variable in optimizer.trainable_variables]
    zero = tf.UnconnectedGradients.ZERO
    if second_derivatives:
        with tf.GradientTape() as tape:
            state, trajectory = unroll(loss_fn, optimizer, state, batches, record=record, judge=judge)
            meta_loss = objective(trajectory)
        return meta_loss, tape.gradient(meta_loss, phi, unconnected_gradients=zero), state, trajectory
    kept = ("grads", "updates", "slopes", "params", "states") if record else ("grads", "slopes", "params", "states")
    state, losses, rows = _run(loss_fn, optimizer, state, batches, judge, jit_update, kept)
    trajectory = Trajectory(losses, rows["grads"] if record else None, rows.get("updates"))
    judged = [losses, trajectory.updates] if record else [losses]
    with tf.GradientTape() as tape:
        tape.watch(judged)
        meta_loss = objective(trajectory)
    weights = tape.gradient(meta_loss, judged, unconnected_gradients=zero)
    pull_back = _xla(_pull_back) if jit_update else _pull_back
    return meta_loss, pull_back(optimizer, phi, state.params, rows, *weights), state, trajectory


def _run(loss_fn, optimizer, state, batches, judge, jit_update, kept: Sequence[str]):
    """The loop: `(state, losses [T+1], {name: [T, ...]})`, with a row per step for each name in `kept`.

    Rows may be the gradient g_t and the update Δθ_t, θ_t (`"params"`), all `[N]`, the optimizer's state in the loop's
    layout (`"states"`), and `"slopes"`, which are `[T+1, N]`: the gradients of the losses.
    """
    evaluate, measure = value_and_grad(loss_fn), value_and_grad(judge) if judge else None
    loop = optimizer.loop()
    update = _xla(loop.update) if jit_update else loop.update
    num_steps = _leading_axis(batches) - 1
    memory = loop.enter(state.optimizer)
    like = nest.flatten(state.params)
    examples = dict.fromkeys(("grads", "updates", "slopes", "params"), like) | {"states": memory}
    rows = {name: tf.nest.map_structure(lambda x: _array(x, num_steps), examples[name]) for name in kept}
    losses = _array(like[0], num_steps)

    def judged(params, batch):
        loss, grads = evaluate(params, batch)
        return grads, *((loss, grads) if measure is None else measure(params, batch))

    def step(t, params, memory, losses, rows):
        grads, loss, slope = judged(params, _at(batches, t))
        updates, after = update(grads, memory, params)
        vectors = {"grads": grads, "updates": updates, "slopes": slope, "params": params}
        found = {name: memory if name == "states" else nest.flatten(vectors[name]) for name in kept}
        rows = {name: tf.nest.map_structure(lambda row, x: row.write(t, x), rows[name], found[name]) for name in kept}
        return t + 1, nest.add(params, updates), after, losses.write(t, loss), rows

    _, params, memory, losses, rows = tf.while_loop(
        lambda t, *_: t < num_steps, step, (0, state.params, memory, losses, rows), maximum_iterations=num_steps
    )
    _, loss, slope = judged(params, _at(batches, num_steps))
    rows = tf.nest.map_structure(lambda row: row.stack(), rows)
    if "slopes" in kept:
        rows["slopes"] = tf.concat([rows["slopes"], nest.flatten(slope)[None]], axis=0)
    losses = tf.concat([losses.stack(), loss[None]], axis=0)
    return UnrollState(params, loop.leave(memory)), losses, rows


def _pull_back(optimizer: Optimizer, phi: list, like: Params, rows: dict, weights, pushes=None) -> list[tf.Tensor]:
    """The first-order meta-gradient from what `_run` kept, see the module's docstring.

    Args:
        optimizer: whose meta-parameters are `phi`.
        like: parameters of the optimizee, for their names and shapes.
        rows: of `_run`.
        weights: `w_t = ∂L/∂f(θ_t) [T+1]`.
        pushes: `∂L/∂Δθ_t [T, N]`, if the objective sees the updates.
    """
    if not phi:
        return []
    loop, num_steps = optimizer.loop(), _leading_axis(rows["grads"])
    pulls = weights[:, None] * rows["slopes"]

    def step(back, theta_bar, state_bar, phi_bar):
        t = num_steps - 1 - back
        grads, params = (nest.unflatten(rows[name][t], like) for name in ("grads", "params"))
        state = _at(rows["states"], t)
        moving = [x for x in tf.nest.flatten(state) if x.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch([moving, params])
            updates, after = loop.update(grads, state, params)
            ends = [nest.flatten(updates), *(x for x in tf.nest.flatten(after) if x.dtype.is_floating)]
        update_bar = theta_bar if pushes is None else theta_bar + pushes[t]
        found = tape.gradient(ends, [phi, moving, params], [update_bar, *state_bar], tf.UnconnectedGradients.ZERO)
        phi_bar = [total + part for total, part in zip(phi_bar, found[0], strict=True)]
        return back + 1, theta_bar + pulls[t] + nest.flatten(found[2]), found[1], phi_bar

    floating = [x for x in tf.nest.flatten(rows["states"]) if x.dtype.is_floating]
    start = (0, pulls[num_steps], [tf.zeros_like(x[0]) for x in floating], [tf.zeros_like(x) for x in phi])
    return tf.while_loop(lambda back, *_: back < num_steps, step, start, maximum_iterations=num_steps)[3]


def _xla(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _array(example: tf.Tensor, size) -> tf.TensorArray:
    return tf.TensorArray(example.dtype, size, element_shape=example.shape)


def replayed(params: Params, grads: tf.Tensor) -> tf.Tensor:
    """`f_t(θ) = ⟨g_t, θ⟩`: the linear problem whose gradient is the recorded `g_t [N]`, wherever θ is.

    Unrolling an optimizer on it plays recorded gradients to the optimizer; imitation learning does that with a
    teacher's.
    """
    return tf.reduce_sum(nest.flatten(params) * grads)


def _at(batches: Batches, t) -> Any:
    return tf.nest.map_structure(lambda tensor: tensor[t], batches)


def _leading_axis(batches: Batches):
    tensor = tf.nest.flatten(batches)[0]
    return tensor.shape[0] if tensor.shape[0] is not None else tf.shape(tensor)[0]
