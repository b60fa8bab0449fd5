"""The arguments of a meta-training: what they become, which are refused, and how a run's folder describes them."""

import dataclasses
import itertools
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from l2o_tf.common.workers import ALONE, Workers
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.training.curriculum import Curriculum, single_stage
from l2o_tf.training.lessons.lesson import Technique
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.meta_optimizers import RunningAverage, Schedule
from l2o_tf.training.validation import Validation
from l2o_tf.training.windows import Windows
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients import FirstOrder, MetaGradient
from problems import contract
from problems.base import Problem, make_seed, require_not_negative, require_positive
from problems.common.user_errors import describe

TRAINING, VALIDATION, CHOICE, INSPECTION, OPTIMIZEE, LENGTHS = range(6)
"""Purposes of the seeds that are derived from the one of a training."""


@dataclasses.dataclass(eq=False, repr=False)
class Arguments:
    """The arguments of `MetaTrainer`, which says what they mean, and attributes of these names."""

    student: Optimizer
    problems: Problem | Sequence[Problem]
    _: dataclasses.KW_ONLY
    lessons: Sequence[Technique] = (OwnTrajectory(),)
    curriculum: Curriculum | int = Curriculum()  # noqa: RUF009 - frozen
    windows: Windows | int = 20
    meta_gradient: MetaGradient = FirstOrder()  # noqa: RUF009 - frozen
    meta_optimizer: keras.optimizers.Optimizer | None = None
    schedule: Schedule | Sequence[Schedule] = ()
    validation: Validation = Validation()  # noqa: RUF009 - frozen
    validation_problems: Problem | Sequence[Problem] | None = None
    average: RunningAverage | None = None
    meta_batch_size: int = 1
    jit_compile: bool = True
    seed: int = 0
    max_skips: int = 10
    beats_its_start: bool = False
    workers: Workers = ALONE

    def __post_init__(self):
        given = self.problems if self.validation_problems is None else self.validation_problems
        self.problems = _problems("problems", self.problems)
        self.validation_problems = _problems("validation_problems", given)
        self.lessons = _techniques(self.lessons)
        self.curriculum = single_stage(self.curriculum) if isinstance(self.curriculum, int) else self.curriculum
        self.windows = Windows(self.windows) if isinstance(self.windows, int) else self.windows
        if self.meta_optimizer is None:
            self.meta_optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
        self.schedule = _schedules(self.schedule)
        self._check_types()
        self.root_seed = make_seed(self.seed)
        self._check()

    def _check_types(self) -> None:
        """Refuses arguments of another type, and numbers that are not positive."""
        for name, kind, expected in (
            ("student", Optimizer, "an Optimizer"),
            ("curriculum", Curriculum, "a Curriculum or an integer"),
            ("windows", Windows, "Windows or an integer"),
            ("meta_gradient", MetaGradient, "a MetaGradient"),
            ("meta_optimizer", keras.optimizers.Optimizer, "an optimizer of Keras"),
            ("validation", Validation, "a Validation"),
            ("average", RunningAverage | None, "a RunningAverage or None"),
            ("jit_compile", bool, "True or False"),
            ("beats_its_start", bool, "True or False"),
            ("workers", Workers, "Workers"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ValueError(f"Received {name}={value!r} of type {type(value).__name__}, expected {expected}.")
        require_positive("meta_batch_size", self.meta_batch_size)
        require_positive("max_skips", self.max_skips)
        require_not_negative("seed", self.seed)

    def _check(self) -> None:
        """Refuses arguments that do not work together, before anything is traced."""
        if self.meta_batch_size % self.workers.share.count:
            raise ValueError(
                f"Received meta_batch_size={self.meta_batch_size} with {self.workers.share.count} workers, expected a "
                "multiple: each takes an equal share of the optimizees."
            )
        if not self.student.trainable_variables:
            raise ValueError(f"Received student {self.student.name}, where nothing can be trained.")
        self.meta_gradient.check(self.student)
        check_lengths(self.curriculum, self.windows, self.validation)
        if self.windows.steps and self.jit_compile:
            raise ValueError(
                "Received windows of random length with jit_compile=True: XLA would compile each length anew. Pass "
                "jit_compile=False."
            )
        for schedule in self.schedule:
            factor(schedule, 0, 0)
        if self.learning_rate is None and self.schedule:
            raise ValueError("Received schedule with a meta_optimizer that has a schedule of Keras. Drop one of them.")
        total = [sum(t.share(stage) for t in self.lessons[1:]) for stage in range(self.curriculum.num_stages)]
        if max(total) > 1 + 1e-9:
            raise ValueError(f"Received lessons whose ratios add up to {max(total):g}, expected at most 1.")
        sets = self.problems, self.validation_problems
        given = [each if isinstance(each, list | tuple) else [each[0]] for each in sets]  # others make theirs late
        for problem in {id(problem): problem for problem in itertools.chain(*given)}.values():
            contract.check(problem)
            params = problem.init(self.root_seed)[0]
            unroll.initial_state(self.student, params, self.root_seed)  # refuses parameters that it has no entry for

    @property
    def learning_rate(self) -> float | None:
        """The meta-learning rate before any schedule; None where a schedule of Keras sets it.

        Keras holds it in single precision. The shortest decimal for that number is the one that was asked for.
        """
        rate = self.meta_optimizer.get_config().get("learning_rate")
        if rate is None:  # of a LossScaleOptimizer, which would divide meta-gradients by a scale that they do not have
            kind = type(self.meta_optimizer).__name__
            raise ValueError(f"Received a {kind} as meta_optimizer, expected one with a learning rate.")
        return float(str(np.float32(rate))) if isinstance(rate, numbers.Real) else None

    def description(self) -> dict[str, Any]:
        """The arguments in JSON types. Runs of one folder have one description, however many workers they have."""
        names = [field.name for field in dataclasses.fields(Arguments) if field.name != "workers"]
        return {name: described(getattr(self, name)) for name in names}


def _problems(name: str, value: Any) -> Sequence[Problem]:
    """A sequence of problems; a single one becomes a list."""
    found = [value] if isinstance(value, Problem) else value
    if not isinstance(found, Sequence) or isinstance(found, str) or not len(found) or not isinstance(found[0], Problem):
        raise ValueError(f"Received {name}={value!r}, expected a Problem or a sequence of them.")
    return found


def _techniques(lessons: Any) -> tuple[Technique, ...]:
    found = [lessons] if isinstance(lessons, Technique) else lessons
    if not isinstance(found, list | tuple) or not found or not all(isinstance(each, Technique) for each in found):
        raise ValueError(f"Received lessons={lessons!r}, expected techniques of l2o_tf.training.lessons.")
    return tuple(found)


def _schedules(schedule: Any) -> tuple[Schedule, ...]:
    found = schedule if isinstance(schedule, list | tuple) else [schedule]
    if not all(callable(each) and not isinstance(each, type) for each in found):
        raise ValueError(f"Received schedule={schedule!r}, expected a function (epoch, stage) -> factor, or several.")
    return tuple(found)


def factor(schedule: Schedule, epoch: int, stage: int) -> float:
    """What a schedule says, a number.

    Raises:
        ValueError: if it raises an error, or returns something else.
    """
    try:
        return float(schedule(epoch, stage))
    except Exception as error:  # the user's code
        raise ValueError(
            f"Received schedule={schedule!r}, expected a number for epoch {epoch} and stage {stage}; it raised "
            f"{describe(error)}."
        ) from error


def check_lengths(curriculum: Curriculum, windows: Windows, validation: Validation) -> None:
    """Refuses horizons that do not fit the windows or the validation."""
    for horizon in (*curriculum.num_steps_train, *curriculum.num_steps_validation):
        if horizon % windows.length:
            lower = max(1, horizon // windows.length) * windows.length
            raise ValueError(
                f"Received a horizon of {horizon} steps with windows of {windows.length}, expected a multiple. Use "
                f"{lower} or {lower + windows.length}, or other windows."
            )
    validation.check(curriculum.num_steps_validation)
    if (windows.count or windows.steps) and curriculum.num_stages > 1:
        raise ValueError(
            "Received windows that set the length of runs themselves with a curriculum of several stages, expected one "
            "or the other. Pass an integer as curriculum."
        )


def described(value: Any) -> Any:
    """An argument in JSON types: dataclasses by their fields, functions by their names."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numbers.Real):  # NumPy's
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if isinstance(value, Optimizer):
        return {"kind": value.kind, **{n: described(v) for n, v in value.architecture.items() if n != "name"}}
    if isinstance(value, keras.optimizers.Optimizer):
        config = {name: described(v) for name, v in value.get_config().items() if name != "name"}
        return {"type": type(value).__name__, **config}
    if isinstance(value, Problem):
        name = re.sub(r"_\d+$", "", value.name)  # Keras numbers the models of a process
        return {"name": name, "data": str(value.data) if value.data else None, "start": contract.start_of(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: described(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(name): described(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if isinstance(value, Sequence):  # of problems, which are made when they are drawn
        return {"type": type(value).__name__, "length": len(value), "first": described(value[0])}
    return getattr(value, "__qualname__", type(value).__name__)
