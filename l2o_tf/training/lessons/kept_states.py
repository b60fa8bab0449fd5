"""Runs that begin with the optimizer's states of the run before, as in L2O-Scale's original program.

That program's flag for resetting the states does the opposite. It resets them in the very first run only. Every later
run begins at a new `θ_0`, but with states of the run before, learning rates among them: those *at the start of its last
window* (later ones are not stored). So the first learning rates are drawn only once in a meta-training.

Here, validation runs have their own states; in that program they do not.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from l2o_tf.training.lessons.lesson import Lesson, Run, Setting, Technique
from problems.base import make_seed


class States:
    """Stores the states of a student between runs, for each problem separately.

    If several `KeptStates` get the same `States`, their lessons share the states.
    """

    def __init__(self):
        self._of_problems: list[tuple[Setting, list[tf.Variable], tf.Variable]] = []

    def of(self, setting: Setting, lesson: Lesson) -> tuple[list[tf.Variable], tf.Variable]:
        """The variables of one problem, and whether they have been written; `lesson` gives their shapes."""
        for known, kept, written in self._of_problems:
            if known.problem is setting.problem and known.student is setting.student:
                return kept, written
        states = tf.nest.flatten(lesson.start(make_seed(0), tf.constant(0)).state.optimizer)
        kept = [tf.Variable(tf.zeros_like(state), trainable=False) for state in states]
        written = tf.Variable(False, trainable=False)
        self._of_problems.append((setting, kept, written))
        return kept, written


@dataclasses.dataclass(frozen=True)
class KeptStates(Technique):
    """Wraps a technique. Each run begins with the optimizer's states of the run before.

    Args:
        technique: any technique whose runs are `Run`s. Its `ratio` and `choose` are used.
        states: where the states are stored. Default: a new `States`.

    Raises:
        ValueError: if `technique` is no technique.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.KeptStates(l2o.OwnTrajectory(max_growth=2.0)).technique.max_growth
        2.0
    """

    technique: Technique
    states: States = dataclasses.field(default_factory=States)

    def __post_init__(self):
        if not isinstance(self.technique, Technique):
            raise ValueError(f"Received technique={self.technique!r}, expected one such as OwnTrajectory().")

    def choose(self, rng: np.random.Generator, count_so_far: int) -> int:
        return self.technique.choose(rng, count_so_far)

    def share(self, stage: int) -> float:
        return self.technique.share(stage)

    def lessons(self, setting: Setting) -> list[Lesson]:
        lessons = self.technique.lessons(setting)
        return [_around(lesson, *self.states.of(setting, lesson)) for lesson in lessons]


def _around(lesson: Lesson, kept: list[tf.Variable], written: tf.Variable) -> Lesson:
    """The same lesson, but its runs begin with the kept states, once there are any."""

    def start(seed, meta_epoch, horizon=0):
        run: Run = lesson.start(seed, meta_epoch, horizon)
        fresh = tf.nest.flatten(run.state.optimizer)
        found = [tf.where(written, old, state) for old, state in zip(kept, fresh, strict=True)]
        return run._replace(state=run.state._replace(optimizer=tf.nest.pack_sequence_as(run.state.optimizer, found)))

    def window(run, seed, num_steps):
        states = tf.nest.flatten(run.state.optimizer)
        floats = [state for state in states if state.dtype.is_floating]
        sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(state)) for state in floats])  # else no run could begin
        for old, state in zip(kept, states, strict=True):
            old.assign(tf.where(sound, state, old))
        written.assign(written | sound)
        return lesson.window(run, seed, num_steps)

    return Lesson(lesson.name, start, window, (*kept, written, *lesson.variables))
