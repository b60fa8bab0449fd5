"""A lesson is one way to learn something from one run of an optimizee.

Every training technique of the paper changes *which trajectory* the student sees, or *what it is judged by*, and
nothing else. So each is a pair of pure functions, and the one trainer does not know which it is running::

    run = lesson.start(seed, meta_epoch)                       # draw an optimizee, clear all states
    run, outcome = lesson.window(run, seed, num_steps)         # one truncation window: loss, and its gradient in φ

The ordinary lesson is here: the student runs on its own trajectory and is judged by the optimizee's losses. Imitation
and self-improving are in the modules of those names.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf import unroll
from l2o_tf.objectives import Objective
from l2o_tf.optimizers.base import Optimizer, Params
from problems.base import Problem, Seed

Judge = Callable[[Params, Any], tf.Tensor]
"""`(params, constants) -> scalar`."""

NumSteps = int | tf.Tensor
"""T of a window: a Python int where the shapes are to be static, as XLA likes them; else an int32 scalar."""


class Run(NamedTuple):
    """What one window of a run hands to the next.

    Attributes:
        params: `θ_t`.
        student: the student's state.
        constants: the optimizee's.
        first: `f(θ_0)` of the run, in the measure of the objective; NaN before the first window.
        technique: what the technique remembers besides, e.g. a teacher's state; `()` without.
    """

    params: Params
    student: Any
    constants: Any
    first: tf.Tensor
    technique: Any = ()


class Outcome(NamedTuple):
    """What one window teaches.

    Attributes:
        meta_loss: scalar.
        gradients: of `meta_loss` with respect to φ, in the order of the student's `trainable_variables`.
        losses: `[T+1]`, the optimizee's losses along the window's trajectory.
        exploded: bool scalar; whether the run is to end here, though all is finite.
    """

    meta_loss: tf.Tensor
    gradients: list[tf.Tensor]
    losses: tf.Tensor
    exploded: tf.Tensor


class Lesson(NamedTuple):
    """See the module's docstring.

    Attributes:
        name: name in records, e.g. `"train"` or `"imitation/adam"`.
        start: `(seed, meta_epoch) -> run`; `meta_epoch` is an int32 scalar, for techniques that change with time.
        window: `(run, seed, num_steps) -> (run, Outcome)`.
    """

    name: str
    start: Callable[[Seed, tf.Tensor], Any]
    window: Callable[[Any, Seed, NumSteps], tuple[Any, Outcome]]


def first_run(problem: Problem, student: Optimizer, seed: Seed, teacher: Optimizer | None = None) -> Run:
    """A run before its first window."""
    params, constants = problem.init(seed)
    dtype = next(iter(params.values())).dtype
    memory = teacher.initial_state(params, seed) if teacher else ()
    state = unroll.initial_state(student, params, seed)
    return Run(params, state.optimizer, constants, tf.constant(float("nan"), dtype), memory)


def own_trajectory(
    problem: Problem,
    student: Optimizer,
    *,
    objective: Objective,
    judge: Judge | None = None,
    second_derivatives: bool = False,
    max_growth: float = 0.0,
    jit_compile: bool = False,
) -> Lesson:
    """The student optimizes, and is judged by the losses on its way: `L_f(φ) = Σ_t ω_t f(θ_t; φ)` (paper, section 3).

    Args:
        problem: what is optimized.
        student: the optimizer that learns.
        objective: `(losses [T+1], first) -> scalar`, see `l2o_tf.objectives`.
        judge: `(params, constants) -> scalar`, whose losses the objective gets; L2O-Scale is judged by the whole data
            set, see `problems.base.objective_of`. Default: by the minibatch losses of its own steps.
        second_derivatives: see `unroll.meta_gradient`.
        max_growth: M; a run whose window ends with `f >= f_0 + (M - 1) |f_0|` has exploded and ends there. Default 0:
            never.
        jit_compile: whether XLA compiles the window, or the optimizer's part of it where the problem says so.
    """

    @tf.function(jit_compile=jit_compile and problem.xla, autograph=False)
    def compiled(run, batches):
        def first(losses):
            return tf.where(tf.math.is_nan(run.first), tf.stop_gradient(losses[0]), run.first)

        meta_loss, gradients, state, trajectory = unroll.meta_gradient(
            lambda params, batch: problem.loss(params, run.constants, batch),
            student,
            unroll.UnrollState(run.params, run.student),
            batches,
            lambda trajectory: objective(trajectory.losses, first(trajectory.losses)),
            second_derivatives=second_derivatives,
            judge=judge and (lambda params, batch: judge(params, run.constants)),
            jit_update=jit_compile and not problem.xla,
        )
        start = first(trajectory.losses)
        exploded = tf.constant(False)
        if max_growth:
            exploded = trajectory.losses[-1] >= start + (max_growth - 1) * tf.abs(start)
        run = run._replace(params=state.params, student=state.optimizer, first=start)
        return run, Outcome(meta_loss, gradients, trajectory.losses, exploded)

    def window(run, seed, num_steps):
        return compiled(run, problem.sample(seed, num_steps + 1))

    return Lesson("train", lambda seed, meta_epoch: first_run(problem, student, seed), window)
