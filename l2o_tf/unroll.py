"""The only inner loop: any optimizer on any optimizee, and the meta-gradient through it.

One step of the unroll, for student, teacher and baseline alike::

    g_t         = ∇f(θ_t; batch_t)
    Δθ_t, s_t+1 = update(g_t, s_t)
    θ_t+1       = θ_t + Δθ_t

Meta-training differentiates an objective of the losses `f(θ_0) ... f(θ_T)` with respect to the meta-parameters φ of the
update rule. As in the original programs the gradients `g_t` count as constants ("first order"). Then the optimizee need
not be differentiated twice, nor even be seen by the backward pass: all it has to know about `f` is its value and slope
at `θ_t`, so the loss is replaced by its linearisation there::

    f~_t(θ) = f(θ_t) + ⟨θ - θ_t, g_t⟩            (θ_t and g_t held constant)

which has the same value and the same gradient, and costs one inner product. `second_derivatives=True` differentiates
the true loss and the gradients instead.

Everything here is traceable and holds no state: call it inside a `tf.function`, with or without XLA.
"""

from collections.abc import Callable
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

    def true(params, batch):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = loss_fn(params, batch)
        return loss, tape.gradient(loss, params, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return true


def linearized(loss_fn: LossFn) -> ValueAndGrad:
    """`(θ, batch) -> (f~(θ), g)`: the loss linearised at θ, and its slope as a constant."""
    true = value_and_grad(loss_fn)

    def linear(params, batch):
        here = tf.nest.map_structure(tf.stop_gradient, params)
        loss, grads = tf.nest.map_structure(tf.stop_gradient, true(here, batch))
        slope = [tf.reduce_sum((params[name] - here[name]) * grads[name]) for name in params]
        return loss + tf.add_n(slope), grads

    return linear


def unroll(
    loss_fn: LossFn,
    optimizer: Optimizer,
    state: UnrollState,
    batches: Batches,
    *,
    second_derivatives: bool = False,
    record: bool = False,
    judge: LossFn | None = None,
) -> tuple[UnrollState, Trajectory]:
    """Runs `optimizer` on `loss_fn` for T steps.

    Args:
        loss_fn: `(params, batch) -> scalar`.
        optimizer: any `Optimizer`.
        state: from `initial_state`, or what the last window returned.
        batches: nest of tensors with a leading axis of T+1; the last one is for `f(θ_T)`.
        second_derivatives: whether the losses and gradients are differentiated truly; default: linearised, first
            order.
        record: whether the trajectory keeps gradients and updates.
        judge: `(params, batch) -> scalar`, what the trajectory's losses are if not those whose gradients the optimizer
            gets: L2O-Scale learns from minibatches and is judged by the whole data set.

    Returns:
        The state after T steps, and the `Trajectory`.
    """
    differentiable = value_and_grad if second_derivatives else linearized
    evaluate = differentiable(loss_fn)
    measure = differentiable(judge) if judge else None
    num_steps = _leading_axis(batches) - 1
    dtype = next(iter(state.params.values())).dtype
    size = nest.size(state.params)
    losses = tf.TensorArray(dtype, num_steps + 1, element_shape=[])
    rows = [tf.TensorArray(dtype, num_steps, element_shape=[size]) for _ in range(2 * record)]

    def step(t, state, losses, rows):
        loss, grads = evaluate(state.params, _at(batches, t))
        loss = measure(state.params, _at(batches, t))[0] if measure else loss
        updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
        rows = [row.write(t, nest.flatten(x)) for row, x in zip(rows, (grads, updates), strict=False)]
        return t + 1, UnrollState(nest.add(state.params, updates), optimizer_state), losses.write(t, loss), rows

    _, state, losses, rows = tf.while_loop(
        lambda t, *_: t < num_steps, step, (0, state, losses, rows), maximum_iterations=num_steps
    )
    loss, _ = (measure or evaluate)(state.params, _at(batches, num_steps))
    return state, Trajectory(losses.write(num_steps, loss).stack(), *(row.stack() for row in rows))


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
) -> tuple[tf.Tensor, list[tf.Tensor], UnrollState, Trajectory]:
    """`∂ objective(trajectory) / ∂φ` over one truncation window.

    The incoming state counts as a constant: this is truncated backpropagation through time.

    Args:
        objective: `Trajectory -> scalar`, see `l2o_tf.objectives`.
        loss_fn, optimizer, state, batches, second_derivatives, record, judge: as in `unroll`.

    Returns:
        `(meta_loss, gradients, state, trajectory)`; the gradients in the order of `optimizer.trainable_variables`.
    """
    with tf.GradientTape() as tape:
        state, trajectory = unroll(
            loss_fn,
            optimizer,
            state,
            batches,
            second_derivatives=second_derivatives,
            record=record,
            judge=judge,
        )
        meta_loss = objective(trajectory)
    variables = [variable.value for variable in optimizer.trainable_variables]
    gradients = tape.gradient(meta_loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return meta_loss, gradients, state, trajectory


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
