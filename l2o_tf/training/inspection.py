"""A look inside a student: what it does in the first window of a run."""

import math
from collections.abc import Callable

import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.training.lessons.lesson import Optimizees
from l2o_tf.unrolling import unroll
from problems.base import Problem, Seed


def compile_inspection(
    problem: Problem, student: Optimizer, unroll_length: int
) -> Callable[[Seed], dict[str, tf.Tensor]]:
    """Compiles `seed -> {name: values}`: what the student does in one window from the start of a run."""
    student = Optimizees(problem).in_blocks_if_large(student)

    @tf.function(autograph=False)
    def inspect(seed):
        params, constants = problem.init(seed)
        state, trajectory = unroll.unroll(
            lambda params, batch: problem.loss(params, constants, batch),
            student,
            unroll.initial_state(student, params, seed),
            problem.sample(seed, unroll_length + 1),
            record=True,
        )
        grads = nest.unflatten(trajectory.grads[-1], like=params)
        return {"updates/log10_size": _log10(trajectory.updates), **student.diagnose(grads, state.optimizer)}

    return inspect


def _log10(values):
    return tf.math.log(tf.abs(values) + 1e-12) / math.log(10.0)
