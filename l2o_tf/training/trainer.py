"""Meta-training: the loop around compiled meta-epochs, for every optimizer and every technique.

A `MetaTrainer` is made of objects. It is advanced by one meta-epoch at a time and tells what happened, or it runs as a
whole in a folder::

    trainer = MetaTrainer(student, problem, curriculum=100)
    event = trainer.advance()
    result = trainer.run("runs/mine", epochs=500)

All that it will ever decide by follows from its arguments, the variables in `trainer.checkpointables()` and the
`TrainingState` among them. Randomness is derived from the seed and the meta-epoch. A trainer restored from a checkpoint
therefore goes on bit for bit as if it had never stopped.
"""

import contextlib
import inspect
import itertools
import numbers
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from l2o_tf import saving
from l2o_tf.common import retracing, xla_cache
from l2o_tf.common.quoting import short
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.training import curriculum as cl
from l2o_tf.training import run_folder
from l2o_tf.training.averaging import RunningAverage
from l2o_tf.training.curriculum import Curriculum
from l2o_tf.training.lessons.lesson import Lesson, Setting, Technique
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.meta_epoch import MetaEpoch, Report, compile_meta_epoch
from l2o_tf.training.reporting import Reporter, inspector
from l2o_tf.training.run_folder import Description
from l2o_tf.training.schedules import Schedule
from l2o_tf.training.state import Event, TrainingState, ValidationResult
from l2o_tf.training.validation import Validation, Validator
from l2o_tf.training.windows import Windows
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients import FirstOrder, MetaGradient
from problems import contract
from problems.base import Problem, fold, make_seed, require_positive
from problems.common.user_errors import describe
from problems.sets import draw

_TRAINING, _VALIDATION, _CHOICE, _INSPECTION, _OPTIMIZEE, _LENGTHS = range(6)


class Result(NamedTuple):
    """What came of `MetaTrainer.run`.

    Attributes:
        student: the trained optimizer; it has the best weights.
        folder: where the run is.
        epochs: meta-epochs done, those of earlier sessions included.
        diverged: how many of them diverged.
        history: one dict per validation: `epoch`, `stage`, `horizon` and `cost`.
        stopped: why the curriculum ended, or "".
        finished: whether nothing is left to do. If not, `run` with the same arguments goes on.
        signal: the number of the signal that ended this session early, or 0.
        outcome: how it ended, in a sentence.

    Example:
        `MetaTrainer.run` returns one:

        >>> from pathlib import Path
        >>> import l2o_tf as l2o
        >>> student, folder = l2o.L2ODM(), Path("runs/mine")
        >>> print(l2o.Result(student, folder, 80, 0, [], stopped="", finished=True, signal=0, outcome="Done."))
        Done. 80 meta-epochs, 0 of them diverged.
        Weights: runs/mine/weights.npz
    """

    student: Optimizer
    folder: Path
    epochs: int
    diverged: int
    history: list[dict[str, Any]]
    stopped: str
    finished: bool
    signal: int
    outcome: str

    def __str__(self) -> str:
        rest = "" if self.finished else "\nThe same command continues."
        return (
            f"{self.outcome} {self.epochs:,} meta-epochs, {self.diverged:,} of them diverged.\n"
            f"Weights: {self.folder / saving.WEIGHTS}{rest}"
        )


class MetaTrainer:
    """Trains a student, by default as the paper does.

    Args:
        student: the optimizer to be trained. It is trained in place, from the weights that it has.
        problems: one problem, or a sequence of which each meta-epoch gets one by chance.
        lessons: techniques, see `l2o_tf.training.lessons`. Their `ratio`s say in which share of the meta-epochs each is
            used; the first one gets what the others leave. Default: the student's own trajectory, judged by the losses.
        curriculum: a `Curriculum`, or an integer: the steps of every run. Default: the paper's curriculum.
        windows: steps per truncation window, or `Windows`. Default 20, from the paper.
        meta_gradient: how a window becomes a gradient of the meta-loss. Default `FirstOrder()`: gradients of the
            optimizee count as constants.
        meta_optimizer: a Keras optimizer; each lesson gets a copy with slots of its own. Default: Adam with learning
            rate 1e-3 and epsilon 1e-8, from the original program.
        schedule: `(epoch, stage) -> factor` of the meta-learning rate, or a sequence of such functions, whose factors
            are multiplied; see `l2o_tf.training.schedules`. Default: constant.
        validation: when and how weights are judged. Default `Validation()`.
        validation_problems: what validations are runs of. Default: `problems`.
        average: `RunningAverage`; the average of the weights is then validated and kept. Default None: the weights.
        meta_batch_size: K, optimizees at the same time in a meta-epoch. The meta-gradient is the mean of theirs.
            Default 1, from the paper.
        jit_compile: whether XLA compiles windows. Default True.
        seed: decides everything that is drawn, except for the student's weights. Default 0.
        max_skips: diverged meta-epochs in a row after which the last good weights return. Default 10.
        beats_its_start: whether the student's first weights are validated first. They are then the result until other
            weights beat them. Default False, as for weights that nobody has trained.

    Raises:
        ValueError: if an argument has another type or is out of range, if a horizon is no multiple of the window, if
            a problem breaks its contract, or if the student does not fit the parameters of the first problem.

    Example:
        >>> import l2o_tf as l2o
        >>> task = l2o.make_problem("quadratic", batch_size=2, num_dims=2)
        >>> trainer = l2o.MetaTrainer(l2o.L2ODM(layers=(4,), seed=0), task, curriculum=8, windows=4)
        >>> trainer.advance().lesson
        'train'
    """

    def __init__(
        self,
        student: Optimizer,
        problems: Problem | Sequence[Problem],
        *,
        lessons: Sequence[Technique] = (OwnTrajectory(),),
        curriculum: Curriculum | int = Curriculum(),  # noqa: B008 - frozen
        windows: Windows | int = 20,
        meta_gradient: MetaGradient = FirstOrder(),  # noqa: B008 - frozen
        meta_optimizer: keras.optimizers.Optimizer | None = None,
        schedule: Schedule | Sequence[Schedule] = (),
        validation: Validation = Validation(),  # noqa: B008 - frozen
        validation_problems: Problem | Sequence[Problem] | None = None,
        average: RunningAverage | None = None,
        meta_batch_size: int = 1,
        jit_compile: bool = True,
        seed: int = 0,
        max_skips: int = 10,
        beats_its_start: bool = False,
    ):
        self.student = student
        self.problems = _problems("problems", problems)
        self.validation_problems = _problems("validation_problems", validation_problems, self.problems)
        self.lessons = _techniques(lessons)
        self.curriculum = cl.single_stage(curriculum) if isinstance(curriculum, int) else curriculum
        self.windows = Windows(windows) if isinstance(windows, int) else windows
        self.meta_gradient = meta_gradient
        self.meta_optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8) if meta_optimizer is None else meta_optimizer
        self.schedule = _schedules(schedule)
        self.validation = validation
        self.average = average
        self.meta_batch_size = meta_batch_size
        self.jit_compile = jit_compile
        self.seed = seed
        self.max_skips = max_skips
        self.beats_its_start = beats_its_start
        _check_types(self)
        self._seed = make_seed(seed)
        self._rate = _rate_of(self.meta_optimizer)
        _check(self)
        self.state = TrainingState(curriculum=cl.with_baseline(0) if beats_its_start else cl.initial_state())
        self._variables = student.trainable_variables
        self._best = [tf.Variable(variable.value) for variable in self._variables]
        self._parked: list[np.ndarray] = []
        self._average = average.of(self._variables) if average else None
        self._prepare_lessons()
        self._inspect = inspector(self.validation_problems[0], student, self.windows.length)
        self._validator = Validator(
            validation, self.validation_problems, student, window=self.windows.length, jit_compile=jit_compile
        )

    def _prepare_lessons(self) -> None:
        """Makes the lessons of the first problem; of all, where a checkpoint must hold what they keep."""
        made = self._make_lessons(0)
        self._names = [[lesson.name for lesson in own] for own in made]
        names = list(itertools.chain(*self._names))
        if len(set(names)) < len(names) or not all(self._names):
            raise ValueError(f"Received lessons={self.lessons}, which give {names}, expected different names of each.")
        self._meta_optimizers = {name: _copy(self.meta_optimizer) for name in names}
        self._made, self._meta_epochs = {0: made}, {}
        if _kept_variables(made):
            self._made |= {member: self._make_lessons(member) for member in range(1, len(self.problems))}
        self._kept = [variable for own in self._made.values() for variable in _kept_variables(own)]
        self._compile(0)
        self._fresh_slots = {name: [v.numpy() for v in o.variables] for name, o in self._meta_optimizers.items()}

    def _make_lessons(self, member: int) -> list[list[Lesson]]:
        """The lessons of one problem, by technique."""
        setting = Setting(
            self.problems[member], self.student, self.meta_gradient, self.meta_batch_size, self.jit_compile
        )
        return [_lessons_of(technique, setting) for technique in self.lessons]

    def _compile(self, member: int) -> dict[str, MetaEpoch]:
        """The meta-epochs of one problem by lesson; each is compiled when it is first run."""
        if member not in self._meta_epochs:
            lessons = self._made.pop(member, None) or self._make_lessons(member)
            self._meta_epochs[member] = {
                lesson.name: compile_meta_epoch(
                    lesson,
                    self._variables,
                    self._meta_optimizers[lesson.name],
                    self.windows.static_length,
                    self._average.update if self._average else None,
                )
                for lesson in itertools.chain(*lessons)
            }
        return self._meta_epochs[member]

    @property
    def horizon(self) -> int:
        """Steps per run in the present stage."""
        return self.curriculum.num_steps_train[self.state.curriculum.stage]

    def checkpointables(self) -> dict[str, Any]:
        """What `tf.train.Checkpoint` must hold: φ, the best φ, the slots, the state, and what arguments add."""
        slots = {name: [v.value for v in o.variables] for name, o in self._meta_optimizers.items()}
        held = {"kept": self._kept} if self._kept else {}
        if self._average:
            held["average"] = self._average.variables
        if self.meta_gradient.variables:
            held["meta_gradient"] = self.meta_gradient.variables
        meta_parameters = [variable.value for variable in self._variables]
        return {"phi": meta_parameters, "best": self._best, "slots": slots, "standing": self.state, **held}

    def best_weights(self) -> dict[str, np.ndarray]:
        """The result: φ of the lowest validation cost (with a curriculum: of the last stage that improved)."""
        return {name: best.numpy() for name, best in zip(self.student.named_variables, self._best, strict=True)}

    @retracing.hidden()
    def advance(self, *, last: bool = False) -> Event:
        """Runs one meta-epoch, and the validation if a period ends with it.

        Args:
            last: whether the period ends with this meta-epoch wherever it stands, since it is the last one.

        Raises:
            ValueError: if the curriculum has ended.
        """
        state, began = self.state, time.monotonic()
        if state.stopped:
            raise ValueError(f"Received a call of advance, but meta-training has ended. {state.stopped}")
        self._go_on()
        epoch, stage, horizon = state.epoch, state.curriculum.stage, self.horizon
        messages = []
        validations = [self._set_baseline(messages)] if state.curriculum.phase is cl.Phase.BASELINE else []
        member = draw(self.problems, fold(self._seed, _OPTIMIZEE, epoch))
        (technique, lesson), started = self._choose_lesson(), time.monotonic()
        self._set_learning_rate()
        lengths = self.windows.draw(np.random.default_rng([self.seed, epoch, _LENGTHS]), horizon)
        report = self._compile(member)[lesson](
            fold(self._seed, _TRAINING, epoch), tf.constant(epoch), tf.constant(lengths)
        )
        report = Report(*(value.numpy().item() for value in report))
        seconds = time.monotonic() - started
        messages += self._count(report, technique, lesson)
        if last or state.epoch % self.validation.period == 0:
            validations += self._end_period(messages)
        state.wall_seconds += time.monotonic() - began
        speed, problem = report.num_steps / seconds, self.problems[member].name
        counted = state.skips, state.curriculum.best
        return Event(epoch, problem, lesson, stage, horizon, report, speed, validations, messages, *counted)

    def run(
        self,
        folder: str | os.PathLike,
        *,
        epochs: int = 5000,
        resume: bool = True,
        checkpoint_seconds: float = 60.0,
        description: Description | None = None,
    ) -> Result:
        """Runs or continues a meta-training in a folder, and leaves the best weights in the student.

        The folder gets records, TensorBoard's files, a picture, checkpoints and the best weights, see
        `l2o_tf.training.run_folder`. The same call continues a run that was stopped or killed; the weights are then
        those of a run that never stopped. Ctrl-C finishes the present meta-epoch, saves, and returns.

        Args:
            folder: the folder of the run; made if missing.
            epochs: meta-epochs at most, those of earlier sessions included. Default 5000.
            resume: whether a run that the folder holds is continued. Default True.
            checkpoint_seconds: seconds between checkpoints; there is one at each validation, too. Default 60.
            description: what the run was started with. Default: the arguments of this trainer.

        Raises:
            ValueError: if an argument is out of range, or if the folder holds another run or is in use.
            OSError: if the folder cannot be written or the disk is full.

        Example:
            >>> import l2o_tf as l2o
            >>> task = l2o.make_problem("quadratic", batch_size=2, num_dims=2)
            >>> trainer = l2o.MetaTrainer(l2o.L2ODM(layers=(4,), seed=0), task, curriculum=8, windows=4)
            >>> result = trainer.run("runs/mine", epochs=2)
            >>> result.epochs, result.outcome
            (2, 'All meta-epochs are done.')
        """
        require_positive("epochs", epochs)
        if not isinstance(checkpoint_seconds, numbers.Real) or not 0 <= checkpoint_seconds <= 1e9:
            raise ValueError(f"Received checkpoint_seconds={checkpoint_seconds!r}, expected a number from 0 to 1e9.")
        if not isinstance(resume, bool):
            raise ValueError(f"Received resume={resume!r}, expected True or False.")
        if not isinstance(description, Description | None):
            raise ValueError(f"Received description={description!r}, expected a Description or None.")
        description = description or Description(self.description(), files=[self.student.kind])
        self._go_on()
        with run_folder.open_run(folder, description, self.problems[0].data, resume=resume) as folder:
            checkpoints = run_folder.Checkpoints(folder, self.checkpointables())
            self._warn_of_an_early_validation(epochs)
            with run_folder.stop_signals() as received, self._reporter(folder, epochs, description) as reporter:

                def save():
                    reporter.flush()
                    checkpoints.save()
                    xla_cache.seal()

                saved = time.monotonic()
                while not received and not self._is_finished(epochs):
                    event = self.advance(last=self.state.epoch + 1 == epochs)
                    reporter.report(event)
                    if event.validations or time.monotonic() - saved > checkpoint_seconds:
                        save()
                        saved = time.monotonic()
                    if event.validations:  # after the checkpoint: where there are weights, there is one
                        self._export(folder, description)
                save()
                self._export(folder, description)
        self._park()
        return self._result(folder, received, finished=self._is_finished(epochs))

    def _result(self, folder: Path, signals: list[int], *, finished: bool) -> Result:
        state = self.state
        done = {"epochs": state.epoch, "diverged": state.skips, "history": list(state.history)}
        return Result(
            self.student,
            folder,
            **done,
            stopped=state.stopped,
            finished=finished,
            signal=signals[0] if signals else 0,
            outcome=self._outcome(finished),
        )

    def _is_finished(self, epochs: int) -> bool:
        return bool(self.state.stopped) or self.state.epoch >= epochs

    def _reporter(self, folder: Path, epochs: int, description: Description) -> Reporter:
        return Reporter(
            folder,
            name=self.student.name,
            options={"problem": self.problems[0].name, "optimizer": self.student.kind, "seed": self.seed},
            chosen=description.chosen(),
            data=self.problems[0].data,
            first=self.state.epoch,
            epochs=epochs,
            is_staged=self.curriculum.num_stages > 1,
            histograms=self.histograms,
        )

    def histograms(self) -> dict[str, np.ndarray]:
        """Weights, the updates of one run's first window, and the states' saturation there."""
        weights = {f"weights/{name}": v.numpy() for name, v in self.student.named_variables.items()}
        inspected = self._inspect(fold(self._seed, _INSPECTION))
        return weights | {name: value.numpy() for name, value in inspected.items()}

    def description(self) -> dict[str, Any]:
        """What this trainer was made of, as JSON types. Runs of one folder have one description."""
        names = inspect.signature(MetaTrainer).parameters
        return {name: run_folder.described(getattr(self, name)) for name in names}

    def _export(self, folder: Path, description: Description) -> None:
        """Writes the best weights so far, and the card that says what they are.

        Until a validation has a finite cost, these are the weights of the start, and the card says `"untrained"`.
        """
        state, data = self.state, self.problems[0].data
        card = {
            "optimizer": self.student.kind,
            "architecture": self.student.architecture,
            "config": description.config,
            "data": data._asdict() if data else None,
            "meta_epochs": state.epoch,
            "inner_steps": state.inner_steps,
            "diverged_meta_epochs": state.skips,
            "stopped": state.stopped,
            "untrained": not self.beats_its_start and not cl.has_result(state.curriculum),
            "wall_seconds": round(state.wall_seconds, 1),
            "validation": state.history,
            "provenance": saving.provenance(),
        }
        saving.save_weights(folder, self.best_weights(), card)

    def _warn_of_an_early_validation(self, epochs: int) -> None:
        """Says where a run has ended before in the middle of a period: a longer run would have another result."""
        state = self.state
        validated = bool(state.history) and state.history[-1]["epoch"] == state.epoch
        if validated and state.epoch % self.validation.period and not self._is_finished(epochs):
            logging.warning(
                "This run has ended before, after %d meta-epochs, with a validation in the middle of a period. It goes "
                "on from there. A run of %d meta-epochs from the start would have another result.",
                *(state.epoch, epochs),
            )

    def _outcome(self, finished: bool) -> str:
        """How meta-training ended, or that it has not."""
        state, stage = self.state, self.state.curriculum
        if state.stopped:
            return state.stopped
        if not cl.has_result(stage):
            seen = "No validation had a finite cost" if state.history else "Stopped before the first validation"
            return f"{seen}: the weights are those it began with."
        if not finished:
            return "Stopped."
        if self.beats_its_start and not stage.improved and not stage.stage:
            return "No validation beat that of the initial weights, which are the result."
        if self.beats_its_start:
            costs = [each["cost"] for each in state.history if each["stage"] == stage.stage]
            return f"Best validation: {min(costs):.4g}. The weights that this stage began with had {costs[0]:.4g}."
        return "All meta-epochs are done."

    def _park(self) -> None:
        """Puts the best weights into the student; `_go_on` puts back those that training goes on with."""
        self._parked = [variable.numpy() for variable in self._variables]
        for best, variable in zip(self._best, self._variables, strict=True):
            variable.assign(best)

    def _go_on(self) -> None:
        for value, variable in zip(self._parked, self._variables, strict=False):
            variable.assign(value)
        self._parked = []

    def _set_learning_rate(self) -> None:
        if self._rate is None:  # a schedule of Keras sets it
            return
        rate = self._rate
        for schedule in self.schedule:
            rate *= _factor(schedule, self.state.epoch, self.state.curriculum.stage)
        for optimizer in self._meta_optimizers.values():
            optimizer.learning_rate.assign(rate)

    def _choose_lesson(self) -> tuple[int, str]:
        """`(index of the technique, name of its lesson)`."""
        rng = np.random.default_rng([self.seed, self.state.epoch, _CHOICE])
        stage, index = self.state.curriculum.stage, 0
        if len(self.lessons) > 1:
            ends = np.cumsum([technique.share(stage) for technique in self.lessons[1:]])
            index = (int(np.searchsorted(ends, rng.random(), side="right")) + 1) % len(self.lessons)
        counts = self.state.counts
        counts += [0] * (len(self.lessons) - len(counts))
        return index, self._names[index][self.lessons[index].choose(rng, counts[index])]

    def _count(self, report: Report, technique: int, lesson: str) -> list[str]:
        state = self.state
        state.epoch += 1
        state.inner_steps += report.num_steps
        state.counts[technique] += 1
        if not report.diverged and not report.lost:
            state.skips_in_a_row = 0
            return []
        state.skips += 1
        state.skips_in_a_row += 1
        what = (
            "left weights that are not finite" if report.lost else f"diverged in window {report.num_windows}; skipped"
        )
        messages = [f"meta-epoch {state.epoch - 1} ({lesson}) {what}"]
        if report.lost or state.skips_in_a_row >= self.max_skips:
            self._restore_best(clear_slots=True)
            messages.append(f"{state.skips_in_a_row} diverged in a row; back to the last good weights, slots cleared")
            state.skips_in_a_row = 0
        return messages

    def _end_period(self, messages: list[str]) -> list[ValidationResult]:
        state = self.state
        with self._average.in_place() if self._average else contextlib.nullcontext():
            validations = [self._validate()]
            state.curriculum, action = cl.step(self.curriculum, state.curriculum, validations[0].cost)
            if action is cl.Action.SAVE:
                for best, variable in zip(self._best, self._variables, strict=True):
                    best.assign(variable.value)
        if action is cl.Action.NEXT_STAGE:
            self._restore_best(clear_slots=self.curriculum.reset_slots)
            validations.append(self._set_baseline(messages))
        elif action is cl.Action.STOP:
            state.stopped = cl.stop_reason(state.curriculum)
            messages.append(state.stopped)
        return validations

    def _set_baseline(self, messages: list[str]) -> ValidationResult:
        """Validates the weights that a stage begins with, which it has to beat."""
        validation = self._validate()._replace(is_baseline=True)
        self.state.curriculum = cl.rebaseline(self.curriculum, self.state.curriculum, validation.cost)
        messages.append(
            f"stage {validation.stage}: training on {self.horizon} steps; "
            f"to beat: {validation.cost:.4g} after {validation.losses.shape[1]} steps"
        )
        return validation

    def _validate(self) -> ValidationResult:
        """Runs the student on the validation runs; the seeds are always the same, or new ones, as asked for."""
        state, stage = self.state, self.state.curriculum.stage
        seed = fold(self._seed, _VALIDATION, state.epoch if self.validation.fresh_seeds else 0)
        cost, losses = self._validator.run(seed, self.curriculum.num_steps_validation[stage])
        state.history.append({"epoch": state.epoch, "stage": stage, "horizon": losses.shape[1], "cost": cost})
        return ValidationResult(cost, losses, stage, self.horizon)

    def _restore_best(self, *, clear_slots: bool) -> None:
        for best, variable in zip(self._best, self._variables, strict=True):
            variable.assign(best)
        if self._average:
            self._average.restart()
        if clear_slots:
            for name, optimizer in self._meta_optimizers.items():
                for variable, value in zip(optimizer.variables, self._fresh_slots[name], strict=True):
                    variable.assign(value)


def _problems(name: str, value: Any, default: Sequence[Problem] | None = None) -> Sequence[Problem]:
    """A sequence of problems; a single one becomes a list."""
    if value is None and default is not None:
        return default
    found = [value] if isinstance(value, Problem) else value
    if not isinstance(found, Sequence) or isinstance(found, str) or not len(found) or not isinstance(found[0], Problem):
        raise ValueError(f"Received {name}={value!r}, expected a Problem or a sequence of them.")
    return found


def _techniques(lessons: Any) -> tuple[Technique, ...]:
    found = [lessons] if isinstance(lessons, Technique) else lessons
    if not isinstance(found, list | tuple) or not found or not all(isinstance(each, Technique) for each in found):
        raise ValueError(f"Received lessons={lessons!r}, expected techniques of l2o_tf.training.lessons.")
    return tuple(found)


def _lessons_of(technique: Technique, setting: Setting) -> list[Lesson]:
    made = technique.lessons(setting)
    found = [made] if isinstance(made, Lesson) or not isinstance(made, Iterable) else list(made)
    if not all(isinstance(lesson, Lesson) and isinstance(lesson.name, str) for lesson in found):
        raise ValueError(f"Received {type(technique).__name__} with lessons {short(found)}, expected named Lessons.")
    return found


def _schedules(schedule: Any) -> tuple[Schedule, ...]:
    found = schedule if isinstance(schedule, list | tuple) else [schedule]
    if not all(callable(each) and not isinstance(each, type) for each in found):
        raise ValueError(f"Received schedule={schedule!r}, expected a function (epoch, stage) -> factor, or several.")
    return tuple(found)


def _factor(schedule: Schedule, epoch: int, stage: int) -> float:
    try:
        return float(schedule(epoch, stage))
    except Exception as error:
        raise ValueError(
            f"Received schedule={schedule!r}, expected a number for epoch {epoch} and stage {stage}; it raised "
            f"{describe(error)}."
        ) from error


def _check_types(trainer: MetaTrainer) -> None:
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
    ):
        value = getattr(trainer, name)
        if not isinstance(value, kind):
            raise ValueError(f"Received {name}={value!r} of type {type(value).__name__}, expected {expected}.")
    for name in ("meta_batch_size", "max_skips"):
        require_positive(name, getattr(trainer, name))


def _check(trainer: MetaTrainer) -> None:
    """Refuses arguments that do not work together, before anything is traced."""
    if not trainer.student.trainable_variables:
        raise ValueError(f"Received student {trainer.student.name}, where nothing can be trained.")
    check_lengths(trainer.curriculum, trainer.windows, trainer.validation)
    if trainer.windows.steps and trainer.jit_compile:
        raise ValueError(
            "Received windows of random length with jit_compile=True: XLA would compile each length anew. Pass "
            "jit_compile=False."
        )
    for schedule in trainer.schedule:
        _factor(schedule, 0, 0)
    if trainer._rate is None and trainer.schedule:
        raise ValueError("Received schedule with a meta_optimizer that has a schedule of Keras. Drop one of them.")
    total = [sum(t.share(stage) for t in trainer.lessons[1:]) for stage in range(trainer.curriculum.num_stages)]
    if max(total) > 1 + 1e-9:
        raise ValueError(f"Received lessons whose ratios add up to {max(total):g}, expected at most 1.")
    first = trainer.problems[0], trainer.validation_problems[0]
    for problem in first[: 1 if first[0] is first[1] else 2]:
        contract.check(problem)
        params = problem.init(trainer._seed)[0]
        unroll.initial_state(trainer.student, params, trainer._seed)  # refuses parameters that it has no entry for


def check_lengths(curriculum: Curriculum, windows: Windows, validation: Validation) -> None:
    """Refuses horizons that do not fit the windows or the validation."""
    for horizon in dict.fromkeys((*curriculum.num_steps_train, *curriculum.num_steps_validation)):
        if horizon % windows.length:
            lower = max(1, horizon // windows.length) * windows.length
            raise ValueError(
                f"Received a horizon of {horizon} steps with windows of {windows.length}, expected a multiple. Use "
                f"{lower} or {lower + windows.length}, or other windows."
            )
    validation.check(curriculum.num_steps_validation)
    if windows.is_random and curriculum.num_stages > 1:
        raise ValueError(
            "Received windows that set the length of runs themselves with a curriculum of several stages, expected one "
            "or the other. Pass an integer as curriculum."
        )


def _copy(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """An optimizer of the same configuration that has seen no variable."""
    return type(optimizer).from_config(optimizer.get_config())


def _rate_of(optimizer: keras.optimizers.Optimizer) -> float | None:
    """The learning rate; None where a schedule of Keras sets it.

    Keras holds it in single precision. The shortest decimal for that number is the one that was asked for.
    """
    rate = optimizer.get_config()["learning_rate"]
    return float(str(np.float32(rate))) if isinstance(rate, numbers.Real) else None


def _kept_variables(lessons: list[list[Lesson]]) -> list[tf.Variable]:
    """What the lessons of one problem keep from run to run, each variable once."""
    return list({id(v): v for own in lessons for lesson in own for v in lesson.variables}.values())
