"""The baseline: meta-training as one would write it down, with nothing but automatic differentiation.

A tape over the whole unroll, around a tape for each gradient. The gradients are constants, and the true losses are
summed. The meta-gradient is that of `unroll`, but the optimizee is differentiated twice: once for the update, once for
the meta-loss. It has a loop of its own, so that the baseline does not get faster with what it is compared with.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from l2o_tf.optimizers import Optimizer, Step
from l2o_tf.training.lessons.lesson import Lesson, Outcome
from problems.base import Problem, Seed


def run(loss_fn: Callable, optimizer: Optimizer, params: dict, state: Any, batches: Any):
    """T steps of `optimizer` on `loss_fn: (params, batch) -> scalar`, in a `tf.while_loop`.

    `batches` has a leading axis of T+1. Returns `(θ_T, state, losses [T+1])`, before each update and after the last.
    """
    num_steps = tf.nest.flatten(batches)[0].shape[0] - 1
    dtype = next(iter(params.values())).dtype

    def batch(t):
        return tf.nest.map_structure(lambda tensor: tensor[t], batches)

    def step(t, params, state, losses):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = loss_fn(params, batch(t))
        grads = tf.nest.map_structure(tf.stop_gradient, tape.gradient(loss, params))
        updates, state = optimizer.update(Step(grads, params), state)
        params = {name: value + updates[name] for name, value in params.items()}
        return t + 1, params, state, losses.write(t, loss)

    losses = tf.TensorArray(dtype, num_steps + 1, element_shape=[])
    start = (tf.constant(0), params, state, losses)
    _, params, state, losses = tf.while_loop(lambda t, *_: t < num_steps, step, start, maximum_iterations=num_steps)
    return params, state, losses.write(num_steps, loss_fn(params, batch(num_steps))).stack()


def own_trajectory(problem: Problem, student: Optimizer, *, jit_compile: bool = False) -> Lesson:
    """The plain counterpart of `own_trajectory`; its objective is the sum of the losses."""

    def start(seed, meta_epoch, horizon=0):
        params, constants = problem.init(seed)
        return params, student.initial_state(params, seed), constants

    @tf.function(jit_compile=jit_compile, autograph=False)
    def compiled(params, state, constants, batches):
        with tf.GradientTape() as tape:
            params, state, losses = run(
                lambda params, batch: problem.loss(params, constants, batch), student, params, state, batches
            )
            meta_loss = tf.reduce_sum(losses)
        gradients = tape.gradient(meta_loss, [variable.value for variable in student.trainable_variables])
        return params, state, Outcome(meta_loss, gradients, losses, tf.constant(False))

    def window(carry, seed, num_steps):
        params, state, constants = carry
        params, state, outcome = compiled(params, state, constants, problem.sample(seed, num_steps + 1))
        return (params, state, constants), outcome

    return Lesson("plain", start, window)


def evaluation(
    problem: Problem, optimizer: Optimizer, *, num_steps: int, jit_compile: bool = False
) -> Callable[[Seed], tf.Tensor]:
    """Compiles `seed -> losses [T+1]`: one run of T steps from a fresh start."""

    @tf.function(jit_compile=jit_compile, autograph=False)
    def compiled(params, state, constants, batches):
        return run(lambda params, batch: problem.loss(params, constants, batch), optimizer, params, state, batches)[2]

    @tf.function(autograph=False)
    def evaluate(seed):
        params, constants = problem.init(seed)
        return compiled(params, optimizer.initial_state(params, seed), constants, problem.sample(seed, num_steps + 1))

    return evaluate
