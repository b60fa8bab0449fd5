"""Lessons and meta-gradients in one line, as tests want them: not compiled by XLA, one optimizee."""

import inspect

from l2o_tf.training.lessons.imitation import Imitation
from l2o_tf.training.lessons.lesson import Lesson, Setting
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.lessons.self_improving import SelfImproving
from l2o_tf.unrolling.meta_gradients import FirstOrder, Window
from l2o_tf.unrolling.unroll import OwnPath


def setting(problem, student, meta_gradient=None, meta_batch_size=1, jit_compile=False) -> Setting:
    return Setting(problem, student, meta_gradient or FirstOrder(), meta_batch_size, jit_compile)


def _lesson(technique, problem, student, options) -> Lesson:
    common = {name: options.pop(name) for name in inspect.signature(setting).parameters if name in options}
    return technique(**options).lessons(setting(problem, student, **common))[0]


def own_trajectory(problem, student, **options) -> Lesson:
    return _lesson(OwnTrajectory, problem, student, options)


def imitation(problem, student, teacher, **options) -> Lesson:
    return _lesson(Imitation, problem, student, {"teachers": (teacher,), **options})


def self_improving(problem, student, teachers, **options) -> Lesson:
    return _lesson(SelfImproving, problem, student, {"teachers": tuple(teachers), **options})


def meta_gradient(loss_fn, optimizer, state, batches, objective, *, method=None, judge=None, **options):
    """`(meta_loss, gradients, state, trajectory)`."""
    window = Window(OwnPath(loss_fn, judge), optimizer, state, batches, objective, **options)
    return (method or FirstOrder()).window(window)[:4]
