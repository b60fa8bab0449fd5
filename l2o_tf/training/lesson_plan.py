"""The lessons of a meta-training: which is next, and the compiled meta-epochs that run them."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from l2o_tf.common.quoting import short
from l2o_tf.training.arguments import CHOICE, Arguments, factor
from l2o_tf.training.lessons.lesson import Lesson, Setting, Technique
from l2o_tf.training.meta_epoch import MetaEpoch, compile_meta_epoch
from l2o_tf.training.meta_optimizers import assign_all
from l2o_tf.training.state import TrainingState


class LessonPlan:
    """The lessons of all techniques, on every problem.

    Attributes:
        meta_optimizers: each lesson has one of its own, by the lesson's name.
        kept: variables that lessons keep from run to run.

    Raises:
        ValueError: if two lessons have one name.
    """

    def __init__(self, arguments: Arguments, after_update: Callable[[], None] | None):
        self._arguments, self._after_update = arguments, after_update
        made = self.make(0)
        self._names = [[lesson.name for lesson in own] for own in made]
        names = list(itertools.chain(*self._names))
        if len(set(names)) < len(names) or not all(self._names):
            raise ValueError(f"Received lessons={arguments.lessons}, which give {names}, expected different names.")
        given, self._rate = arguments.meta_optimizer, arguments.learning_rate
        self.meta_optimizers = {name: type(given).from_config(given.get_config()) for name in names}
        self._made, self._meta_epochs = {0: made}, {}
        if _kept(made):  # then a checkpoint must hold what the lessons of every problem keep
            self._made |= {member: self.make(member) for member in range(1, len(arguments.problems))}
        self.kept = [variable for own in self._made.values() for variable in _kept(own)]
        if arguments.workers.share.count > 1 and (self.kept or arguments.meta_gradient.variables):
            raise ValueError(
                f"Received lessons={arguments.lessons} and {arguments.meta_gradient}, which keep something from run to "
                f"run, with {arguments.workers.share.count} workers, whose runs differ. Use one process."
            )
        self.meta_epochs(0)
        self._fresh_slots = {name: [v.numpy() for v in o.variables] for name, o in self.meta_optimizers.items()}

    def make(self, member: int) -> list[list[Lesson]]:
        """The lessons of one problem, by technique."""
        a = self._arguments
        options = a.meta_batch_size, a.jit_compile, a.workers.share
        setting = Setting(a.problems[member], a.student, a.meta_gradient, *options)
        return [_lessons_of(technique, setting) for technique in a.lessons]

    def meta_epochs(self, member: int) -> dict[str, MetaEpoch]:
        """The meta-epochs of one problem by lesson; each is compiled when it is first run."""
        if member not in self._meta_epochs:
            self._meta_epochs[member] = {
                lesson.name: compile_meta_epoch(
                    lesson,
                    self._arguments.student.trainable_variables,
                    self.meta_optimizers[lesson.name],
                    None if self._arguments.windows.steps else self._arguments.windows.length,
                    self._after_update,
                    self._arguments.workers,
                )
                for lesson in itertools.chain(*(self._made.pop(member, None) or self.make(member)))
            }
        return self._meta_epochs[member]

    def choose(self, state: TrainingState) -> tuple[int, str]:
        """`(index of the technique, name of its lesson)` of the next meta-epoch."""
        techniques, stage, index = self._arguments.lessons, state.curriculum.stage, 0
        rng = np.random.default_rng([self._arguments.seed, state.epoch, CHOICE])
        if len(techniques) > 1:
            ends = np.cumsum([technique.share(stage) for technique in techniques[1:]])
            index = (int(np.searchsorted(ends, rng.random(), side="right")) + 1) % len(techniques)
        state.counts += [0] * (len(techniques) - len(state.counts))
        return index, self._names[index][techniques[index].choose(rng, state.counts[index])]

    def set_learning_rate(self, epoch: int, stage: int) -> None:
        """Sets the rate that the schedules give, unless a schedule of Keras does."""
        rate = self._rate
        if rate is None:
            return
        for schedule in self._arguments.schedule:
            rate *= factor(schedule, epoch, stage)
        for optimizer in self.meta_optimizers.values():
            optimizer.learning_rate.assign(rate)

    def clear_slots(self) -> None:
        """Lets the meta-optimizers forget."""
        for name, optimizer in self.meta_optimizers.items():
            assign_all(optimizer.variables, self._fresh_slots[name])


def _lessons_of(technique: Technique, setting: Setting) -> list[Lesson]:
    made = technique.lessons(setting)
    found = [made] if isinstance(made, Lesson) or not isinstance(made, Iterable) else list(made)
    if not all(isinstance(lesson, Lesson) and isinstance(lesson.name, str) for lesson in found):
        raise ValueError(f"Received {type(technique).__name__} with lessons {short(found)}, expected named Lessons.")
    return found


def _kept(lessons: list[list[Lesson]]) -> list[tf.Variable]:
    """What the lessons of one problem keep from run to run, each variable once."""
    return list({id(v): v for own in lessons for lesson in own for v in lesson.variables}.values())
