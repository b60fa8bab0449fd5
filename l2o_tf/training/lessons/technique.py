# ruff: noqa: D101
"""Techniques as objects, until `lessons` has them."""

import abc
import dataclasses
from typing import Any, NamedTuple

from l2o_tf.common import devices, names
from l2o_tf.optimizers import ANALYTIC, Optimizer, make_optimizer
from l2o_tf.training.lessons import imitation as il
from l2o_tf.training.lessons import kept_states, lesson, self_improving
from l2o_tf.training.lessons.lesson import Lesson
from l2o_tf.unrolling.objectives import OBJECTIVES, total
from problems.base import Problem


@dataclasses.dataclass(frozen=True)
class FirstOrder:
    second = False


@dataclasses.dataclass(frozen=True)
class WholeRun:
    second = True


@dataclasses.dataclass(frozen=True)
class ZeroNonfinite:
    inner: Any = dataclasses.field(default_factory=FirstOrder)

    @property
    def second(self):
        return self.inner.second


class Setting(NamedTuple):
    problem: Problem
    student: Optimizer
    meta_gradient: Any
    meta_batch_size: int = 1
    jit_compile: bool = True


class Technique(abc.ABC):
    ratio: float | tuple[float, ...] = 0.3

    @abc.abstractmethod
    def lessons(self, setting: Setting) -> list[Lesson]: ...

    def choose(self, rng, count_so_far: int) -> int:
        return 0


def _calls(setting, one_by_one=False):
    size = setting.meta_batch_size
    if one_by_one or not setting.student.coordinatewise:
        return size
    return 1 if devices.has_gpu() else max(calls for calls in range(1, 17) if size % calls == 0)


def _objective(self):
    return OBJECTIVES[self.objective] if isinstance(self.objective, str) else self.objective


def _teacher(teacher):
    if isinstance(teacher, Optimizer):
        return teacher
    name, _, rate = teacher.lower().partition(":")
    if name not in ANALYTIC:
        raise ValueError(f"Received teacher {teacher!r}, expected one of {list(ANALYTIC)}.{names.hint(name, ANALYTIC)}")
    return make_optimizer(name, {"learning_rate": float(rate or 0.01)})


@dataclasses.dataclass(frozen=True)
class OwnTrajectory(Technique):
    ratio: float = 1.0
    objective: Any = total
    judge: Any = None
    max_growth: float = 0.0

    def lessons(self, setting):
        calls = _calls(setting)
        made = lesson.own_trajectory(
            setting.problem,
            setting.student,
            objective=OBJECTIVES.get(self.objective, self.objective)
            if isinstance(self.objective, str)
            else self.objective,
            judge=self.judge and self.judge(setting.problem),
            second_derivatives=setting.meta_gradient.second,
            max_growth=self.max_growth,
            jit_compile=setting.jit_compile,
            meta_batch_size=setting.meta_batch_size // calls,
        )
        return [lesson.mean_of(made, calls)]


@dataclasses.dataclass(frozen=True)
class SelfImproving(Technique):
    teachers: tuple = ("adam", "sgd", "adagrad")
    decay_epochs: int = 100
    initial_probability: float | None = None
    objective: Any = total
    judge: Any = None
    max_growth: float = 0.0

    def lessons(self, setting):
        calls = _calls(setting, True)
        made = self_improving.self_improving(
            setting.problem,
            setting.student,
            [_teacher(t) for t in self.teachers],
            decay_epochs=self.decay_epochs,
            objective=OBJECTIVES.get(self.objective, self.objective)
            if isinstance(self.objective, str)
            else self.objective,
            judge=self.judge and self.judge(setting.problem),
            second_derivatives=setting.meta_gradient.second,
            max_growth=self.max_growth,
            jit_compile=setting.jit_compile,
            meta_batch_size=1,
        )
        return [lesson.mean_of(made, calls)]


@dataclasses.dataclass(frozen=True)
class Imitation(Technique):
    teachers: tuple = ("adam",)
    ratio: float | tuple[float, ...] = 0.3
    distance: Any = il.squared_error
    teacher_steps: int = 1
    choice: str = "random"

    def lessons(self, setting):
        calls = _calls(setting)
        made = [
            il.imitation(
                setting.problem,
                setting.student,
                _teacher(teacher),
                teacher_steps=self.teacher_steps,
                distance=self.distance,
                jit_compile=setting.jit_compile,
                meta_batch_size=setting.meta_batch_size // calls,
            )
            for teacher in self.teachers
        ]
        return [lesson.mean_of(each, calls) for each in made]

    def choose(self, rng, count_so_far):
        turn = count_so_far if self.choice == "cycle" else rng.integers(len(self.teachers))
        return int(turn) % len(self.teachers)


@dataclasses.dataclass(frozen=True)
class KeptStates(Technique):
    technique: Technique
    ratio: float = 1.0

    def lessons(self, setting):
        (made,) = self.technique.lessons(setting)
        kept = kept_states.KeptStates(made)
        around = kept.around(made)
        return [around._replace(variables=tuple(kept.variables))]
