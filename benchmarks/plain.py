"""The baseline: meta-training as one would write it down, with nothing but automatic differentiation.

A tape over the whole unroll, around a tape for each gradient; the gradients are held constant and the true losses are
summed. It computes the same meta-gradient as `unroll` and back-propagates the optimizee twice: once for the
update, once for the meta-loss. It is a loop of its own on purpose: a yardstick must not shrink with what it measures.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from l2o_tf.optimizers import Optimizer, Step
from l2o_tf.training.lessons.lesson import Lesson, Outcome
from problems.base import Problem, Seed


def run(loss_fn: Callable, optimizer: Optimizer, params: dict, memory: Any, batches: Any):
    """T steps of `optimizer` on `loss_fn`, in a `tf.while_loop`.

    Args:
        loss_fn: `(params, batch) -> scalar`.
        optimizer: any.
        params: `θ_0`.
        memory: the optimizer's state.
        batches: nest of tensors with a leading axis of T+1.

    Returns:
        `(θ_T, memory, losses [T+1])`, the losses before each update and after the last.
    """
    num_steps = tf.nest.flatten(batches)[0].shape[0] - 1
    dtype = next(iter(params.values())).dtype

    def batch(t):
        return tf.nest.map_structure(lambda tensor: tensor[t], batches)

    def step(t, params, memory, losses):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = loss_fn(params, batch(t))
        grads = tf.nest.map_structure(tf.stop_gradient, tape.gradient(loss, params))
        updates, memory = optimizer.update(Step(grads, params), memory)
        params = {name: value + updates[name] for name, value in params.items()}
        return t + 1, params, memory, losses.write(t, loss)

    losses = tf.TensorArray(dtype, num_steps + 1, element_shape=[])
    start = (tf.constant(0), params, memory, losses)
    _, params, memory, losses = tf.while_loop(lambda t, *_: t < num_steps, step, start, maximum_iterations=num_steps)
    return params, memory, losses.write(num_steps, loss_fn(params, batch(num_steps))).stack()


def own_trajectory(problem: Problem, student: Optimizer, *, jit_compile: bool = False) -> Lesson:
    """The plain counterpart of `own_trajectory`; its objective is the sum of the losses."""

    def start(seed, meta_epoch):
        del meta_epoch
        params, constants = problem.init(seed)
        return params, student.initial_state(params, seed), constants

    @tf.function(jit_compile=jit_compile, autograph=False)
    def compiled(params, memory, constants, batches):
        with tf.GradientTape() as tape:
            params, memory, losses = run(
                lambda params, batch: problem.loss(params, constants, batch), student, params, memory, batches
            )
            meta_loss = tf.reduce_sum(losses)
        gradients = tape.gradient(meta_loss, [variable.value for variable in student.trainable_variables])
        return params, memory, Outcome(meta_loss, gradients, losses, tf.constant(False))

    def window(carry, seed, num_steps):
        params, memory, constants = carry
        params, memory, outcome = compiled(params, memory, constants, problem.sample(seed, num_steps + 1))
        return (params, memory, constants), outcome

    return Lesson("plain", start, window)


def evaluation(
    problem: Problem, optimizer: Optimizer, *, num_steps: int, jit_compile: bool = False
) -> Callable[[Seed], tf.Tensor]:
    """Compiles `seed -> losses [T+1]`: one run of T steps from a fresh start."""

    @tf.function(jit_compile=jit_compile, autograph=False)
    def compiled(params, memory, constants, batches):
        return run(lambda params, batch: problem.loss(params, constants, batch), optimizer, params, memory, batches)[2]

    @tf.function(autograph=False)
    def evaluate(seed):
        params, constants = problem.init(seed)
        return compiled(params, optimizer.initial_state(params, seed), constants, problem.sample(seed, num_steps + 1))

    return evaluate
