"""A student that does not forget from run to run: a quirk of L2O-Scale's original program.

Its flag for resetting the states has the inverse effect. They are reset in the very first run only; every later run
begins at a new `θ_0`, but with the states, learning rates among them, that the run before had *at the start of its last
window* (what comes after that window is not stored). So all of meta-training uses one draw of the first learning rates.

Other than there, validation runs have states of their own.
"""

import tensorflow as tf

from l2o_tf.training.lessons.lesson import Lesson
from problems.base import make_seed


def _all_finite(states: list[tf.Tensor]) -> tf.Tensor:
    """Whether a run can begin with these states; one that cannot would end every later run."""
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(state)) for state in states if state.dtype.is_floating])


class KeptStates:
    """Where the states of a student are between runs.

    Args:
        lesson: any lesson of that student; tells which states there are.
    """

    def __init__(self, lesson: Lesson):
        states = tf.nest.flatten(lesson.start(make_seed(0), tf.constant(0)).student)
        self._kept = [tf.Variable(tf.zeros_like(state), trainable=False) for state in states]
        self._any = tf.Variable(False, trainable=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """What a checkpoint must hold."""
        return [*self._kept, self._any]

    def around(self, lesson: Lesson) -> Lesson:
        """The same lesson, whose runs begin with the kept states, once there are any."""

        def start(seed, meta_epoch):
            run = lesson.start(seed, meta_epoch)
            fresh = tf.nest.flatten(run.student)
            found = [tf.where(self._any, kept, state) for kept, state in zip(self._kept, fresh, strict=True)]
            return run._replace(student=tf.nest.pack_sequence_as(run.student, found))

        def window(run, seed, num_steps):
            states = tf.nest.flatten(run.student)
            sound = _all_finite(states)
            for kept, state in zip(self._kept, states, strict=True):
                kept.assign(tf.where(sound, state, kept))
            self._any.assign(self._any | sound)
            return lesson.window(run, seed, num_steps)

        return Lesson(lesson.name, start, window)
