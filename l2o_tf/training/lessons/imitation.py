"""Imitation: the student learns to do what another optimizer would have done (paper, section 4.1, Algorithm 2).

A teacher `O` runs on the optimizee and leaves a trajectory of gradients and updates, `(g_t, Δθ_t^O)`. The student sees
the same gradients (and parameters and losses, if it looks at them) and is judged by the distance of its updates from
the teacher's, Eq. (1)::

    L_O(φ) = Σ_t ω_t Σ_c (Δθ_t,c^O - Δθ_t,c^φ)²              c: coordinates

The student never influences the trajectory ("off-policy"): the unroll plays the teacher's steps to it
(`unroll.PlayedPath`).

With `teacher_steps = k > 1`, the label is the sum of k teacher updates, each on a fresh minibatch. The input is the
gradient of the first one. So the student learns to look k steps ahead.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from l2o_tf.optimizers.analytic import rule
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.training.lessons.lesson import Group, Lesson, Outcome, Setting, Technique, in_turn, named
from l2o_tf.unrolling import batch, unroll
from problems.base import require_positive

Distance = Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]
"""`(labels [T, n], updates [T, n], N) -> [T, n]`: what each coordinate adds at each step, in an optimizee of N."""


def squared_error(labels: tf.Tensor, updates: tf.Tensor, size: int) -> tf.Tensor:
    """Eq. (1) of the paper with `ω_t = 1`: `(label - update)²`, summed over steps and coordinates."""
    del size
    return tf.square(labels - updates)


def half_mean_squared_error(labels: tf.Tensor, updates: tf.Tensor, size: int) -> tf.Tensor:
    """The original program's distance: `1/2 (label - update)² / N`."""
    return 0.5 * tf.square(labels - updates) / size


DISTANCES: dict[str, Distance] = {"sum": squared_error, "half_mean": half_mean_squared_error}


@dataclasses.dataclass(frozen=True)
class Imitation(Technique):
    """The student imitates one of its teachers.

    Args:
        teachers: the optimizers to imitate: names of rules (`"adam"`, or `"adam:0.003"` with a learning rate; default
            0.01, from the paper), or any `Optimizer`. Default: Adam. Each teacher has its own lesson, and its own
            moments in the meta-optimizer.
        distance: between updates: a `Distance` or its name in `DISTANCES`. Default: the sum of squares.
        teacher_steps: k, teacher updates per label. Default 1, as in the original program.
        choice: how the next teacher is chosen: `"random"` (default) or `"cycle"` (they take turns).
        ratio: see `Technique`. Default 0.3, from the paper.

    Raises:
        ValueError: for no teacher, an unknown one, two of one name, or other arguments that are out of range.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.Imitation(("adam", "sgd:0.1"), ratio=0.5).share(stage=0)
        0.5
    """

    teachers: tuple[str | Optimizer, ...] = ("adam",)
    distance: str | Distance = squared_error
    teacher_steps: int = 1
    choice: str = "random"

    def __post_init__(self):
        super().__post_init__()
        optimizers(self.teachers)  # refuses what is none
        named("distance", self.distance, DISTANCES)
        require_positive("teacher_steps", self.teacher_steps)
        if self.choice not in ("random", "cycle"):
            raise ValueError(f"Received choice={self.choice!r}, expected 'random' or 'cycle'.")

    def choose(self, rng: np.random.Generator, count_so_far: int) -> int:
        count = len(self.teachers)
        return count_so_far % count if self.choice == "cycle" else int(rng.integers(count))

    def lessons(self, setting: Setting) -> list[Lesson]:
        setting = setting._replace(meta_gradient=setting.meta_gradient.for_played_steps())
        return [self._lesson(setting, teacher) for teacher in optimizers(self.teachers)]

    def _lesson(self, setting: Setting, teacher: Optimizer) -> Lesson:
        calls, beside = batch.divide(setting.meta_batch_size, setting.share, setting.student)
        size, k = beside.count, self.teacher_steps
        optimizees = batch.Optimizees(setting.problem, beside, setting.student, teacher)
        group = Group.of(setting, optimizees)

        @tf.function(autograph=False)
        def compiled(run, batches, seed):
            taught, lecture = unroll.unroll(
                lambda params, batch: optimizees.problem.loss(params, run.constants, batch),
                teacher,
                run.state._replace(optimizer=run.technique),
                batches,
                record=True,
                xla=group.xla,
                shape=optimizees.shape,
            )
            labels = tf.reduce_sum(tf.reshape(lecture.updates, [-1, k, lecture.updates.shape[1]]), axis=1)
            grads, params = (tf.concat([x[::k], tf.zeros_like(x[:1])], axis=0) for x in (lecture.grads, lecture.params))
            steps = unroll.Recorded(grads, params, lecture.losses[::k])
            found = group.estimate(run, unroll.PlayedPath(), steps, self._judge(labels, size), seed, record=True)
            state, losses = taught._replace(optimizer=found.state.optimizer), optimizees.mean_losses(lecture.losses)
            run = run._replace(state=state, memory=found.memory, technique=taught.optimizer)
            return run, Outcome(found.meta_loss, found.gradients, losses, tf.constant(False))

        def start(seed, meta_epoch, horizon=0):
            del meta_epoch
            run = group.first_run(seed, horizon)
            return run._replace(technique=teacher.initial_state(run.state.params, seed))

        def window(run, seed, num_steps):
            return compiled(run, group.batches(seed, num_steps * k + 1), seed)

        return in_turn(Lesson(f"imitation/{teacher.name}", start, window), calls)

    def _judge(self, labels: tf.Tensor, count: int) -> Callable[..., tf.Tensor]:
        """The meta-loss of a window on `count` optimizees: the mean over them of the sum of distances."""
        distance = named("distance", self.distance, DISTANCES)

        def judge(trajectory, sample=None):
            taught = labels if sample is None else sample.of(labels)
            found = distance(taught, trajectory.updates, labels.shape[1] // count)
            if found.shape.rank != 2:
                raise ValueError(
                    f"Received a distance of shape {found.shape}, expected one for each step and coordinate."
                )
            return tf.reduce_sum(found if sample is None else sample.weight * found) / count

        return judge


def optimizers(teachers: tuple[str | Optimizer, ...]) -> list[Optimizer]:
    """Makes optimizers from a tuple of names and optimizers; raises a ValueError for anything else, or equal names."""
    if not isinstance(teachers, tuple | list):
        raise ValueError(f"Received teachers={teachers!r}, expected a tuple of names or optimizers.")
    found = [teacher if isinstance(teacher, Optimizer) else rule(teacher) for teacher in teachers]
    names = [teacher.name for teacher in found]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Received teachers {names}, expected some, each with a name of its own.")
    return found
