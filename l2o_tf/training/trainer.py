"""The loop around compiled meta-epochs, for every optimizer and every technique, one meta-epoch at a time.

All that it will ever decide by follows from its arguments, the variables in `checkpointables` and the `TrainingState`
among them. Randomness is derived from the seed and the meta-epoch. A trainer restored from a checkpoint therefore goes
on bit for bit as if it had never stopped.
"""

import contextlib
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_tf.common import retracing
from l2o_tf.common.workers import pack, unpack
from l2o_tf.saving.provenance import must_be_equal
from l2o_tf.training import curriculum as cl
from l2o_tf.training.arguments import LENGTHS, OPTIMIZEE, TRAINING, VALIDATION, Arguments
from l2o_tf.training.lesson_plan import LessonPlan
from l2o_tf.training.meta_epoch import Report
from l2o_tf.training.meta_optimizers import AveragedVariables, assign_all
from l2o_tf.training.state import Event, TrainingState, ValidationResult
from l2o_tf.training.validation import Validator
from problems.base import fold
from problems.sets import draw


class Trainer(Arguments):
    """What `MetaTrainer` is without folders."""

    def __post_init__(self):
        super().__post_init__()
        self.state = TrainingState(curriculum=cl.with_baseline(0) if self.beats_its_start else cl.CurriculumState())
        self._variables = self.student.trainable_variables
        self._best = [tf.Variable(variable.value) for variable in self._variables]
        self._set_aside: list[np.ndarray] = []  # φ, while the student has the best weights
        self._average = AveragedVariables(self._variables, self.average.momentum) if self.average else None
        self._plan = LessonPlan(self, self._average.update if self._average else None)
        options = {"window": self.windows.length, "jit_compile": self.jit_compile}
        self._validator = Validator(self.validation, self.validation_problems, self.student, self.workers, **options)
        self._has_met = False

    @property
    def horizon(self) -> int:
        """Steps per run in the present stage."""
        return self.curriculum.num_steps_train[self.state.curriculum.stage]

    def checkpointables(self) -> dict[str, Any]:
        """What `tf.train.Checkpoint` must hold: φ, the best φ, the slots, the state, and what arguments add."""
        held = {
            "kept": self._plan.kept,
            "average": self._average.variables if self._average else [],
            "meta_gradient": self.meta_gradient.variables,
        }
        return {
            "phi": [variable.value for variable in self._variables],
            "best": self._best,
            "slots": {name: [v.value for v in o.variables] for name, o in self._plan.meta_optimizers.items()},
            "standing": self.state,
            **{name: variables for name, variables in held.items() if variables},
        }

    def _meet(self, more: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Refuses workers that have been asked for something else. `more`: what else has to be equal."""
        self.workers.require_equal(lambda: {**must_be_equal(), **more, **self.description()})
        self._has_met = True

    def _mirror(self) -> None:
        """All workers take over where the chief stands."""
        self.workers.mirror(self._read, self._write)

    def _read(self) -> bytes:
        """All that `checkpointables` has."""
        held = [tensor.numpy() for tensor in self._held()]
        return pack([*held, np.frombuffer(self.state.serialize().encode(), np.uint8)])

    def _write(self, content: bytes) -> None:
        """Takes over what `_read` gave."""
        *held, standing = unpack(content)
        assign_all(self._held(), held)
        self.state.deserialize(standing.tobytes().decode())

    def _held(self) -> list[tf.Variable]:
        return tf.nest.flatten({k: v for k, v in self.checkpointables().items() if k != "standing"})

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
        if not self._has_met:
            self._meet()
            self._mirror()
        with self.workers.together():
            return self._advance(began, last)

    def _advance(self, began: float, last: bool) -> Event:
        state = self.state
        epoch, stage, horizon = state.epoch, state.curriculum.stage, self.horizon
        messages = []
        validations = [self._set_baseline(messages)] if state.curriculum.phase is cl.Phase.BASELINE else []
        started = time.monotonic()
        member = draw(self.problems, fold(self.root_seed, OPTIMIZEE, epoch))
        technique, lesson = self._plan.choose(state)
        self._plan.set_learning_rate(epoch, stage)
        lengths = self.windows.draw(np.random.default_rng([self.seed, epoch, LENGTHS]), horizon)
        report = self._plan.meta_epochs(member)[lesson](
            fold(self.root_seed, TRAINING, epoch), tf.constant(epoch), tf.constant(lengths)
        )
        report = Report(*(value.numpy().item() for value in report))
        speed = report.num_steps / (time.monotonic() - started)
        messages += self._count(report, technique, lesson)
        if last or state.epoch % self.validation.period == 0:
            validations += self._end_period(messages)
        state.wall_seconds += time.monotonic() - began
        if validations:  # machines of several kinds round differently, and drift apart
            self._mirror()
        counted = state.skips, state.curriculum.best
        problem = self.problems[member].name
        return Event(epoch, problem, lesson, stage, horizon, report, speed, validations, messages, *counted)

    def _count(self, report: Report, technique: int, lesson: str) -> list[str]:
        """Counts a meta-epoch; where several diverged in a row, the last good weights return."""
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
        """Validates, and does what the curriculum says."""
        state = self.state
        with self._average.in_place() if self._average else contextlib.nullcontext():
            validations = [self._validate()]
            state.curriculum = cl.step(self.curriculum, state.curriculum, validations[0].cost)
            if state.curriculum.is_best:
                assign_all(self._best, [variable.value for variable in self._variables])
        if state.curriculum.phase is cl.Phase.BASELINE:
            self._restore_best(clear_slots=self.curriculum.reset_slots)
            validations.append(self._set_baseline(messages))
        elif state.curriculum.phase is cl.Phase.STOPPED:
            state.stopped = cl.stop_reason(state.curriculum)
            messages.append(state.stopped)
        return validations

    def _set_baseline(self, messages: list[str]) -> ValidationResult:
        """Validates the weights that a stage begins with, which it has to beat."""
        validation = self._validate()._replace(is_baseline=True)
        self.state.curriculum = cl.rebaseline(self.state.curriculum, validation.cost)
        messages.append(
            f"stage {validation.stage}: training on {self.horizon} steps; "
            f"to beat: {validation.cost:.4g} after {validation.losses.shape[1]} steps"
        )
        return validation

    def _validate(self) -> ValidationResult:
        """Runs the student on the validation runs; the seeds are always the same, or new ones, as asked for."""
        state, stage = self.state, self.state.curriculum.stage
        seed = fold(self.root_seed, VALIDATION, state.epoch if self.validation.fresh_seeds else 0)
        cost, losses = self._validator.run(seed, self.curriculum.num_steps_validation[stage])
        state.history.append({"epoch": state.epoch, "stage": stage, "horizon": losses.shape[1], "cost": cost})
        return ValidationResult(cost, losses, stage, self.horizon)

    def _restore_best(self, *, clear_slots: bool) -> None:
        assign_all(self._variables, self._best)
        if self._average:
            self._average.restart()
        if clear_slots:
            self._plan.clear_slots()

    def _pause(self) -> None:
        """Puts the best weights into the student; `_go_on` puts back those that training goes on with."""
        self._set_aside = [variable.numpy() for variable in self._variables]
        assign_all(self._variables, self._best)

    def _go_on(self) -> None:
        if self._set_aside:
            assign_all(self._variables, self._set_aside)
        self._set_aside = []
