"""A lesson is one way to learn something from one run of an optimizee.

Every training technique of the paper changes *which trajectory* the student sees, or *what it is judged by*, and
nothing else. So each is a pair of pure functions, and the one trainer does not know which it is running::

    carry = lesson.start(seed, meta_epoch)             # draw an optimizee, clear all states
    carry, outcome = lesson.window(carry, seed)        # one truncation window: loss, and its gradient in φ

The ordinary lesson is here: the student runs on its own trajectory and is judged by the optimizee's losses. Imitation
and self-improving are in the modules of those names.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf import unroll
from l2o_tf.optimizers.base import Optimizer
from problems.base import Problem, Seed

Objective = Callable[[tf.Tensor], tf.Tensor]


class Outcome(NamedTuple):
    """What one window teaches.

    Attributes:
        meta_loss: scalar.
        gradients: of `meta_loss` with respect to φ, in the order of the student's `trainable_variables`.
        losses: `[T+1]`, the optimizee's losses along the window's trajectory.
    """

    meta_loss: tf.Tensor
    gradients: list[tf.Tensor]
    losses: tf.Tensor


class Lesson(NamedTuple):
    """See the module's docstring.

    Attributes:
        name: name in records, e.g. `"train"` or `"imitation/adam"`.
        start: `(seed, meta_epoch) -> carry`; `meta_epoch` is an int32 scalar, for techniques that change with time.
        window: `(carry, seed) -> (carry, Outcome)`.
    """

    name: str
    start: Callable[[Seed, tf.Tensor], Any]
    window: Callable[[Any, Seed], tuple[Any, Outcome]]


def own_trajectory(
    problem: Problem,
    student: Optimizer,
    *,
    unroll_length: int = 20,
    objective: Objective,
    second_derivatives: bool = False,
    jit_compile: bool = False,
) -> Lesson:
    """The student optimizes, and is judged by the losses on its way: `L_f(φ) = Σ_t ω_t f(θ_t; φ)` (paper, section 3).

    Args:
        problem: what is optimized.
        student: the optimizer that learns.
        unroll_length: T, steps per truncation window. Default 20, as in the paper and the program.
        objective: `losses [T+1] -> scalar`, see `l2o_tf.objectives`.
        second_derivatives: see `unroll.meta_gradient`.
        jit_compile: whether XLA compiles the window.
    """

    def start(seed, meta_epoch):
        del meta_epoch
        params, constants = problem.init(seed)
        return unroll.initial_state(student, params, seed), constants

    @tf.function(jit_compile=jit_compile, autograph=False)
    def compiled(state, constants, batches):
        meta_loss, gradients, state, trajectory = unroll.meta_gradient(
            lambda params, batch: problem.loss(params, constants, batch),
            student,
            state,
            batches,
            lambda trajectory: objective(trajectory.losses),
            second_derivatives=second_derivatives,
        )
        return state, Outcome(meta_loss, gradients, trajectory.losses)

    def window(carry, seed):
        state, constants = carry
        state, outcome = compiled(state, constants, problem.sample(seed, unroll_length + 1))
        return (state, constants), outcome

    return Lesson("train", start, window)
