"""A lesson is one way to learn something from one run of an optimizee.

Every training technique of the paper changes *which trajectory* the student sees, or *what it is judged by*, and
nothing else. So each is a pair of pure functions, and the one trainer does not know which it is running::

    run = lesson.start(seed, meta_epoch)                       # draw an optimizee, clear all states
    run, outcome = lesson.window(run, seed, num_steps)         # one truncation window: loss, and its gradient in φ

The ordinary lesson is here: the student runs on its own trajectory and is judged by the optimizee's losses. Imitation
and self-improving are in the modules of those names.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.optimizers.base import Optimizer, Params
from l2o_tf.optimizers.blocks import in_blocks_if_large
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.objectives import Objective
from problems.base import Problem, Seed, make_seed, shapes_of
from problems.side_by_side import each, side_by_side, split

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
        first: `f(θ_0)` of the run, in the measure of the objective; NaN before the first window. Of K optimizees side
            by side it is `[K]`, and there are K of everything else, too.
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
        variables: what it keeps from run to run, which a checkpoint must hold. Default: nothing.
    """

    name: str
    start: Callable[[Seed, tf.Tensor], Any]
    window: Callable[[Any, Seed, NumSteps], tuple[Any, Outcome]]
    variables: tuple[tf.Variable, ...] = ()


class Optimizees(NamedTuple):
    """The optimizees of one run: one, or K side by side.

    Attributes:
        problem: of one of them, or of all (`problems.side_by_side`).
        count: K, or None for one.
    """

    problem: Problem
    count: int | None = None

    @classmethod
    def of(cls, problem: Problem, count: int, *optimizers: Optimizer) -> "Optimizees":
        """K = `count` optimizees for these optimizers.

        Raises:
            ValueError: if one of them cannot run several side by side.
        """
        if count == 1:
            return cls(problem)
        unable = [optimizer.name for optimizer in optimizers if not optimizer.coordinatewise]
        if unable:
            raise ValueError(
                f"Received {count} optimizees side by side with {unable[0]}, which does not treat coordinates one by "
                "one. Let it take them one after the other."
            )
        return cls(side_by_side(problem, count), count)

    def in_blocks_if_large(self, optimizer: Optimizer) -> Optimizer:
        """`optimizers.blocks.in_blocks_if_large` for these optimizees."""
        return in_blocks_if_large(optimizer, shapes_of(self.problem, self.seed(make_seed(0))))

    def seed(self, seed: Seed) -> Seed:
        """What the problem's functions take."""
        return seed if self.count is None else split(seed, self.count)

    def mean(self, function: Callable, *arguments) -> tf.Tensor:
        """`function` of the arguments, or its mean over K of each, along their last axis."""
        if self.count is None:
            return function(*arguments)
        leading = [tf.transpose(x) for x in arguments]  # `[T, K] -> [K, T]`
        return tf.reduce_mean(each(function)(*leading))

    def mean_of_losses(self, losses: tf.Tensor) -> tf.Tensor:
        """`[T+1]`."""
        return losses if self.count is None else tf.reduce_mean(losses, axis=1)

    def first_run(self, student: Optimizer, seed: Seed, teacher: Optimizer | None = None) -> Run:
        """A run before its first window."""
        params, constants = self.problem.init(self.seed(seed))
        unknown = tf.fill([] if self.count is None else [self.count], tf.constant(math.nan, _dtype(params)))
        memory = teacher.initial_state(params, seed) if teacher else ()
        return Run(params, unroll.initial_state(student, params, seed).optimizer, constants, unknown, memory)


def _dtype(params: Params) -> tf.DType:
    return next(iter(params.values())).dtype


def own_trajectory(problem: Problem, student: Optimizer, *, meta_batch_size: int = 1, **options) -> Lesson:
    """The student optimizes, and is judged by the losses on its way: `L_f(φ) = Σ_t ω_t f(θ_t; φ)` (paper, section 3).

    Args:
        problem: what is optimized.
        student: the optimizer that learns.
        meta_batch_size: K, optimizees side by side; the meta-loss is the mean of theirs. Default 1.
        **options: of `compile_window`; `objective` is needed.

    Raises:
        ValueError: if the student cannot run several side by side; see `mean_of`.
    """
    optimizees = Optimizees.of(problem, meta_batch_size, student)
    student = optimizees.in_blocks_if_large(student)
    compiled = compile_window(optimizees, student, **options)

    def window(run, seed, num_steps):
        return compiled(run, optimizees.problem.sample(optimizees.seed(seed), num_steps + 1))

    return Lesson("train", lambda seed, meta_epoch: optimizees.first_run(student, seed), window)


def compile_window(
    optimizees: Optimizees,
    student: Optimizer,
    *,
    objective: Objective,
    judge: Judge | None = None,
    second_derivatives: bool = False,
    max_growth: float = 0.0,
    jit_compile: bool = False,
) -> Callable[[Run, Any], tuple[Run, Outcome]]:
    """`(run, batches) -> (run, Outcome)`: a window of `own_trajectory` on the T+1 minibatches that it is given.

    Args:
        optimizees: what is optimized.
        student: the optimizer that learns.
        objective: `(losses [T+1], first) -> scalar`, see `l2o_tf.unrolling.objectives`.
        judge: `(params, constants) -> scalar`, whose losses the objective gets; L2O-Scale is judged by the whole data
            set, see `problems.base.objective_of`. Default: by the minibatch losses of its own steps.
        second_derivatives: see `unroll.meta_gradient`.
        max_growth: M; a run whose window ends with `f >= f_0 + (M - 1) |f_0|` has exploded and ends there. Default 0:
            never.
        jit_compile: whether XLA compiles the window, or the optimizer's part of it where the problem says so.
    """
    problem, xla = optimizees.problem, unroll.xla_part(optimizees.problem, jit_compile)
    if judge and optimizees.count:
        judge = each(judge)

    @tf.function(autograph=False)
    def window(run, batches):
        def first(losses):
            return tf.where(tf.math.is_nan(run.first), tf.stop_gradient(losses[0]), run.first)

        meta_loss, gradients, state, trajectory = unroll.meta_gradient(
            lambda params, batch: problem.loss(params, run.constants, batch),
            student,
            unroll.UnrollState(run.params, run.student),
            batches,
            lambda trajectory: optimizees.mean(objective, trajectory.losses, first(trajectory.losses)),
            second_derivatives=second_derivatives,
            judge=judge and (lambda params, batch: judge(params, run.constants)),
            xla=xla,
            side_by_side=optimizees.count,
        )
        start = first(trajectory.losses)
        exploded = tf.constant(False)
        if max_growth:
            exploded = tf.reduce_any(trajectory.losses[-1] >= start + (max_growth - 1) * tf.abs(start))
        run = run._replace(params=state.params, student=state.optimizer, first=start)
        return run, Outcome(meta_loss, gradients, optimizees.mean_of_losses(trajectory.losses), exploded)

    return window


def mean_of(lesson: Lesson, count: int) -> Lesson:
    """`count` runs of a lesson, in each window a call for each, and the mean of what they teach.

    The calls run at the same time as far as there are cores. On a processor that is faster than optimizees side by
    side; and it is for any student, also one that cannot run several side by side.
    """
    if count == 1:
        return lesson

    def start(seed, meta_epoch):
        runs = [lesson.start(own, meta_epoch) for own in tf.unstack(split(seed, count))]
        return tf.nest.map_structure(lambda *tensors: tf.stack(tensors), *runs)

    def window(runs, seed, num_steps):
        found = []
        for k, own in enumerate(tf.unstack(split(seed, count))):
            found.append(lesson.window(tf.nest.map_structure(lambda x, k=k: x[k], runs), own, num_steps))
        runs, outcomes = (
            tf.nest.map_structure(lambda *tensors: tf.stack(tensors), *part) for part in zip(*found, strict=True)
        )
        exploded = tf.reduce_any(outcomes.exploded)
        outcomes = outcomes._replace(exploded=tf.zeros([count]))
        return runs, tf.nest.map_structure(lambda x: tf.reduce_mean(x, axis=0), outcomes)._replace(exploded=exploded)

    return Lesson(lesson.name, start, window)
