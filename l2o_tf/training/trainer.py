"""Meta-training: the loop around compiled meta-epochs, for every optimizer and every technique.

A `MetaTrainer` is advanced by one meta-epoch at a time and tells what happened; it opens no file::

    trainer = MetaTrainer(config, [problem], student)
    while not trainer.finished:
        event = trainer.advance()

All that it will ever decide by follows from `config`, the variables in `trainer.checkpointables()` and the `Standing`
among them. Randomness is derived from the seed and the meta-epoch. A trainer restored from a checkpoint therefore goes
on bit for bit as if it had never stopped.
"""

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.cli.assembly import make_curriculum, make_lessons, make_meta_optimizer
from l2o_tf.cli.config import Config
from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.training import curriculum as cl
from l2o_tf.training.averaging import RunningAverage
from l2o_tf.training.inspection import compile_inspection
from l2o_tf.training.lessons.kept_states import KeptStates
from l2o_tf.training.lessons.lesson import Lesson
from l2o_tf.training.lessons.long_tail import LongTail, window_lengths
from l2o_tf.training.meta_epoch import MetaEpoch, Report, compile_meta_epoch
from l2o_tf.training.standing import Standing
from l2o_tf.training.validation import Validation, Validator
from l2o_tf.unrolling import unroll
from problems import contract
from problems.base import Problem, fold, make_seed
from problems.sets import draw

_TRAINING, _VALIDATION, _CHOICE, _INSPECTION, _OPTIMIZEE, _LENGTHS = range(6)
_TAILS = ("long_tail_windows", "long_tail_steps")


class Event(NamedTuple):
    """What one call of `advance` did.

    Attributes:
        epoch: index of the meta-epoch, from 0.
        problem: name of the optimizee.
        lesson: name of the lesson.
        stage, horizon: of the curriculum, and steps per run.
        report: of the meta-epoch, as Python numbers.
        steps_per_second: optimizee steps per second, without validation.
        validations: one at the end of a period, and one of the baseline where a stage that has one begins.
        messages: what a person should be told.
    """

    epoch: int
    problem: str
    lesson: str
    stage: int
    horizon: int
    report: Report
    steps_per_second: float
    validations: list[Validation]
    messages: list[str]


class MetaTrainer:
    """Trains a student as a `Config` says; see the module's docstring.

    Args:
        config: the resolved configuration.
        optimizees: what to train on; each meta-epoch is a run of one of them, drawn by chance.
        student: the optimizer to be trained.

    Raises:
        ValueError: if the student is not made for the parameters of the first optimizee.
    """

    def __init__(self, config: Config, optimizees: Sequence[Problem], student: Optimizer):
        self.config = config
        self.optimizees = optimizees
        self.student = student
        # Weights that somebody has trained before are the result until they are beaten.
        self.standing = Standing(curriculum=cl.with_baseline(0) if config.initial_weights else cl.initial_state())
        self.curriculum = make_curriculum(config)
        self._seed = make_seed(config.seed)
        contract.check(optimizees[0])
        params = optimizees[0].init(self._seed)[0]
        unroll.initial_state(student, params, self._seed)  # refuses, now, parameters that it has no entry for
        self._variables = student.trainable_variables
        self._best = [tf.Variable(variable.value) for variable in self._variables]
        self._average = RunningAverage(self._variables, config.ema_momentum) if config.ema_momentum else None
        lessons = make_lessons(config, optimizees[0], student)
        self._kept = []
        if config.keep_states:  # each optimizee has its own
            others = (make_lessons(config, optimizees[i], student) for i in range(1, len(optimizees)))
            self._kept = [KeptStates(own[0]) for own in (lessons, *others)]
        self._meta_optimizers = {lesson.name: make_meta_optimizer(config) for lesson in lessons}
        self._meta_epochs = {0: self._compile(0, lessons)}
        self._fresh_slots = {name: [v.numpy() for v in o.variables] for name, o in self._meta_optimizers.items()}
        self._inspect = compile_inspection(optimizees[0], student, config.unroll_length)
        self._validator = Validator(
            optimizees, student, unroll_length=config.unroll_length, jit_compile=config.jit_compile
        )

    def _compile(self, member: int, lessons: list[Lesson]) -> dict[str, MetaEpoch]:
        """The meta-epochs of one optimizee by name; each is compiled when it is first run."""
        length = None if self.config.long_tail_steps else self.config.unroll_length
        return {
            lesson.name: compile_meta_epoch(
                self._kept[member].around(lesson) if self._kept else lesson,
                self._variables,
                self._meta_optimizers[lesson.name],
                length,
                self.config.zero_nonfinite,
                self._average.update if self._average else None,
            )
            for lesson in lessons
        }

    @property
    def finished(self) -> bool:
        """Whether the last meta-epoch is done or the curriculum has stopped."""
        return bool(self.standing.stopped) or self.standing.epoch >= self.config.num_epochs

    @property
    def has_ended_once(self) -> bool:
        """Whether the run has ended before in the middle of a period, with a validation that a longer run lacks."""
        standing = self.standing
        validated = bool(standing.history) and standing.history[-1]["epoch"] == standing.epoch
        return validated and standing.epoch % self.config.evaluation_period > 0

    @property
    def horizon(self) -> int:
        """Steps per run in the present stage."""
        return self.curriculum.num_steps_train[self.standing.curriculum.stage]

    def checkpointables(self) -> dict[str, Any]:
        """What `tf.train.Checkpoint` must hold: φ, the best φ, the slots, the standing, and what options add."""
        slots = {name: [v.value for v in o.variables] for name, o in self._meta_optimizers.items()}
        meta_parameters = [variable.value for variable in self._variables]
        held = {"kept": [v for kept in self._kept for v in kept.variables]} if self._kept else {}
        if self._average:
            held["average"] = self._average.variables
        return {"phi": meta_parameters, "best": self._best, "slots": slots, "standing": _StandingState(self), **held}

    def best_weights(self) -> dict[str, np.ndarray]:
        """The result: φ of the lowest validation cost (with a curriculum: of the last stage that improved)."""
        return {name: best.numpy() for name, best in zip(self.student.named_variables, self._best, strict=True)}

    def histograms(self) -> dict[str, np.ndarray]:
        """Weights, the updates of one run's first window, and the states' saturation there."""
        weights = {f"weights/{name}": v.numpy() for name, v in self.student.named_variables.items()}
        inspected = self._inspect(fold(self._seed, _INSPECTION))
        return weights | {name: value.numpy() for name, value in inspected.items()}

    def advance(self) -> Event:
        """Runs one meta-epoch, and the validation if a period ends with it."""
        standing, config, began = self.standing, self.config, time.monotonic()
        epoch, stage, horizon = standing.epoch, standing.curriculum.stage, self.horizon
        messages = []
        validations = [self._set_baseline(messages)] if standing.curriculum.phase is cl.Phase.BASELINE else []
        member, lesson, started = self._choose_optimizee(), self._choose_lesson(), time.monotonic()
        self._set_learning_rate()
        if member not in self._meta_epochs:
            self._meta_epochs[member] = self._compile(
                member, make_lessons(config, self.optimizees[member], self.student)
            )
        report = self._meta_epochs[member][lesson](
            fold(self._seed, _TRAINING, epoch), tf.constant(epoch), tf.constant(self._draw_lengths())
        )
        report = Report(*(value.numpy().item() for value in report))
        seconds = time.monotonic() - started
        messages += self._count(report, lesson)
        if standing.epoch % config.evaluation_period == 0 or standing.epoch == config.num_epochs:
            validations += self._end_period(messages)
        standing.wall_seconds += time.monotonic() - began
        speed, problem = report.num_steps / seconds, self.optimizees[member].name
        return Event(epoch, problem, lesson, stage, horizon, report, speed, validations, messages)

    def _set_learning_rate(self) -> None:
        """`α d^stage a`, with the decay d of a stage, and a = 1 or, annealed, `1/2 (1 + cos(π e/P))`.

        Annealing begins anew with every period of P meta-epochs (Loshchilov and Hutter, 2017, *SGDR*), so that its
        validation is one of settled weights.
        """
        config, standing = self.config, self.standing
        rate = config.learning_rate * config.stage_decay**standing.curriculum.stage
        if config.anneal:
            done = standing.epoch % config.evaluation_period / config.evaluation_period
            rate *= 0.5 * (1.0 + math.cos(math.pi * done))
        for optimizer in self._meta_optimizers.values():
            optimizer.learning_rate.assign(rate)

    def _choose_optimizee(self) -> int:
        return draw(self.optimizees, fold(self._seed, _OPTIMIZEE, self.standing.epoch))

    def _draw_lengths(self) -> np.ndarray:
        """Steps of the windows of this meta-epoch."""
        config = self.config
        tails = [LongTail(*config.tail(name)) if config.tail(name) else None for name in _TAILS]
        rng = np.random.default_rng([config.seed, self.standing.epoch, _LENGTHS])
        return window_lengths(rng, self.horizon, config.unroll_length, *tails)

    def _choose_lesson(self) -> str:
        config, standing = self.config, self.standing
        draw = np.random.default_rng([config.seed, standing.epoch, _CHOICE])
        names = list(self._meta_optimizers)
        if len(names) == 1 or draw.random() >= config.ratio(standing.curriculum.stage):
            return names[0]
        teachers = names[1:]
        turn = standing.imitations if config.teacher_choice == "cycle" else draw.integers(len(teachers))
        return teachers[turn % len(teachers)]

    def _count(self, report: Report, lesson: str) -> list[str]:
        standing = self.standing
        standing.epoch += 1
        standing.inner_steps += report.num_steps
        standing.imitations += lesson.startswith("imitation/")
        if not report.diverged and not report.lost:
            standing.skips_in_a_row = 0
            return []
        standing.skips += 1
        standing.skips_in_a_row += 1
        what = (
            "left weights that are not finite" if report.lost else f"diverged in window {report.num_windows}; skipped"
        )
        messages = [f"meta-epoch {standing.epoch - 1} ({lesson}) {what}"]
        if report.lost or standing.skips_in_a_row >= self.config.max_skips:
            self._restore_best(clear_slots=True)
            messages.append(
                f"{standing.skips_in_a_row} diverged in a row; back to the last good weights, slots cleared"
            )
            standing.skips_in_a_row = 0
        return messages

    def _end_period(self, messages: list[str]) -> list[Validation]:
        standing = self.standing
        with self._average.in_place() if self._average else contextlib.nullcontext():
            validations = [self._validate()]
            standing.curriculum, action = cl.step(self.curriculum, standing.curriculum, validations[0].cost)
            if action is cl.Action.SAVE:
                self._keep_best()
        if action is cl.Action.NEXT_STAGE:
            self._restore_best(clear_slots=self.config.reset_slots)
            validations.append(self._set_baseline(messages))
        elif action is cl.Action.STOP:
            standing.stopped = cl.stop_reason(standing.curriculum)
            messages.append(standing.stopped)
        return validations

    def _set_baseline(self, messages: list[str]) -> Validation:
        """Validates the weights that a stage begins with, which it has to beat."""
        validation = self._validate()._replace(is_baseline=True)
        self.standing.curriculum = cl.rebaseline(self.curriculum, self.standing.curriculum, validation.cost)
        messages.append(
            f"stage {validation.stage}: training on {self.horizon} steps; "
            f"to beat: {validation.cost:.4g} after {validation.losses.shape[1]} steps"
        )
        return validation

    def _validate(self) -> Validation:
        """Runs the student on the validation runs; the seeds are always the same, or new ones, as configured."""
        config, stage = self.config, self.standing.curriculum.stage
        fresh = self.standing.epoch if config.validation_seeds == "fresh" else 0
        seed, horizon = fold(self._seed, _VALIDATION, fresh), self.curriculum.num_steps_validation[stage]
        losses = self._validator.run(seed, config.num_runs_validation, horizon)
        cost = self._validator.cost(losses, config.validation_window)
        losses = rollouts.recorded_losses(losses)
        validation = Validation(cost, losses, stage, self.horizon)
        self.standing.history.append(
            {"epoch": self.standing.epoch, "stage": stage, "horizon": losses.shape[1], "cost": cost}
        )
        return validation

    def _keep_best(self):
        for best, variable in zip(self._best, self._variables, strict=True):
            best.assign(variable.value)

    def _restore_best(self, *, clear_slots: bool):
        for best, variable in zip(self._best, self._variables, strict=True):
            variable.assign(best)
        if self._average:
            self._average.restart()
        if clear_slots:
            for name, optimizer in self._meta_optimizers.items():
                for variable, value in zip(optimizer.variables, self._fresh_slots[name], strict=True):
                    variable.assign(value)


class _StandingState(tf.train.experimental.PythonState):
    """Lets a checkpoint hold the trainer's `Standing`."""

    def __init__(self, trainer: MetaTrainer):
        self._trainer = trainer

    def serialize(self) -> str:
        return self._trainer.standing.to_json()

    def deserialize(self, string_value) -> None:
        self._trainer.standing = Standing.from_json(string_value)
