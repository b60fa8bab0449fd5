"""The ordinary technique: the student optimizes, and its own losses are minimised (paper, section 3).

L_f(φ) = Σ_t ω_t f(θ_t; φ)
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from l2o_tf.optimizers.base import Params
from l2o_tf.training.lessons.lesson import Group, Lesson, Outcome, Run, Setting, Technique, in_turn, named
from l2o_tf.unrolling import batch, unroll
from l2o_tf.unrolling.batch import Optimizees
from l2o_tf.unrolling.objectives import OBJECTIVES, Objective, total
from problems.base import Seed, objective_of

Judge = Callable[[Params, Any], tf.Tensor]
"""`(params, constants) -> scalar`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnTrajectory(Technique):
    """The student optimizes, and meta-training minimises the losses on its way.

    Args:
        objective: the meta-loss: `(losses [T+1], first) -> scalar`, or a name in `l2o_tf.unrolling.objectives`.
            Default: the sum of the losses.
        judge: which losses the objective gets. Default (None): those of the student's own steps. `"problem"`: the loss
            over all data (`problems.base.objective_of`). Or any function `(params, constants) -> scalar`, for example
            the loss of a validation set.
        max_growth: M. If a window ends with `f >= f_0 + (M - 1) |f_0|`, the run has exploded and ends there. Default 0:
            never.
        ratio: see `Technique`.

    Raises:
        ValueError: for an unknown objective or judge, or a growth that is neither 0 nor above 1.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.OwnTrajectory(objective="log_ratio", max_growth=2.0).max_growth
        2.0
    """

    objective: str | Objective = total
    judge: str | Judge | None = None
    max_growth: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        named("objective", self.objective, OBJECTIVES)
        if self.judge is not None:
            named("judge", self.judge, {"problem": objective_of})
        if self.max_growth and not 1 < self.max_growth < math.inf:
            raise ValueError(f"Received max_growth={self.max_growth}, expected 0 (never) or more than 1.")

    def lessons(self, setting: Setting) -> list[Lesson]:
        calls, beside = batch.divide(setting.meta_batch_size, setting.share, setting.student)
        optimizees = batch.Optimizees(setting.problem, beside, setting.student)
        return [in_turn(self.lesson(setting, optimizees), calls)]

    def lesson(self, setting: Setting, optimizees: Optimizees) -> Lesson:
        """The lesson on these optimizees together."""
        group = Group.of(setting, optimizees)
        compiled = self.compile_window(group)

        def start(seed, meta_epoch, horizon=0):
            del meta_epoch
            return group.first_run(seed, horizon)

        def window(run, seed, num_steps):
            return compiled(run, group.batches(seed, num_steps + 1), seed)

        return Lesson("train", start, window)

    def compile_window(self, group: Group) -> Callable[[Run, Any, Seed], tuple[Run, Outcome]]:
        """`(run, batches, seed) -> (run, Outcome)`: a window on the T+1 minibatches that it is given."""
        optimizees, objective = group.optimizees, named("objective", self.objective, OBJECTIVES)
        judge = objective_of(group.setting.problem) if self.judge == "problem" else self.judge
        judge = judge and optimizees.apart(judge)

        @tf.function(autograph=False)
        def window(run, batches, seed):
            def first(losses):
                return tf.where(tf.math.is_nan(run.first), tf.stop_gradient(losses[0]), run.first)

            def meta_loss(trajectory):
                return optimizees.mean(objective, trajectory.losses, first(trajectory.losses))

            path = unroll.OwnPath(
                lambda params, batch: optimizees.problem.loss(params, run.constants, batch),
                judge and (lambda params, batch: judge(params, run.constants)),
            )
            found = group.estimate(run, path, batches, meta_loss, seed)
            losses = found.trajectory.losses
            start = first(losses)
            exploded = tf.constant(False)
            if self.max_growth:
                exploded = tf.reduce_any(losses[-1] >= start + (self.max_growth - 1) * tf.abs(start))
            run = run._replace(state=found.state, first=start, memory=found.memory)
            return run, Outcome(found.meta_loss, found.gradients, optimizees.mean_losses(losses), exploded)

        return window
