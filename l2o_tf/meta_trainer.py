"""Meta-training: the loop around compiled meta-epochs, for every optimizer and every technique.

A `MetaTrainer` is advanced by one meta-epoch at a time and tells what happened; it opens no file::

    trainer = MetaTrainer(config, problem, student)
    while not trainer.finished:
        event = trainer.advance()

All that it will ever decide by follows from `config`, the variables in `trainer.checkpointables()` and the `Progress` among
them. Randomness is derived from the seed and the meta-epoch. A trainer restored from a checkpoint therefore goes on
bit for bit as if it had never stopped.
"""

import dataclasses
import json
import math
import time
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from l2o_tf import evaluation, nest, unroll
from l2o_tf.config import Config
from l2o_tf.meta_epoch import Report, compile_meta_epoch
from l2o_tf.objectives import OBJECTIVES
from l2o_tf.optimizers.analytic import ANALYTIC
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.techniques import curriculum as cl
from l2o_tf.techniques.imitation import DISTANCES, imitation
from l2o_tf.techniques.lesson import Lesson, own_trajectory
from l2o_tf.techniques.self_improving import self_improving
from problems.base import Problem, fold, make_seed
from problems.transforms import random_scaling

_TRAINING, _VALIDATION, _CHOICE, _INSPECTION = 0, 1, 2, 3


@dataclasses.dataclass
class Progress:
    """Where a meta-training stands; plain values.

    Attributes:
        epoch: meta-epochs done.
        inner_steps: optimizee steps done in training.
        imitations: imitation meta-epochs done (decides whose turn it is in `teacher_choice="cycle"`).
        skips, skips_in_a_row: diverged meta-epochs.
        curriculum: state of the curriculum; its first stage serves runs without a curriculum.
        history: one dict per validation.
        stopped: why meta-training ended before its last meta-epoch, or "".
        wall_seconds: time spent in training and validation, over all sessions.
    """

    epoch: int = 0
    inner_steps: int = 0
    imitations: int = 0
    skips: int = 0
    skips_in_a_row: int = 0
    curriculum: cl.CurriculumState = dataclasses.field(default_factory=cl.initial_state)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    stopped: str = ""
    wall_seconds: float = 0.0

    def to_json(self) -> str:
        """JSON that `from_json` restores exactly."""
        return json.dumps({**dataclasses.asdict(self), "curriculum": cl.to_dict(self.curriculum)})

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "curriculum": cl.from_dict(values["curriculum"])})


class Validation(NamedTuple):
    """One validation: `cost` decides, `losses [R, N_valid]` are its curves."""

    cost: float
    losses: np.ndarray
    stage: int
    horizon_train: int


class Event(NamedTuple):
    """What one call of `advance` did.

    Attributes:
        epoch: index of the meta-epoch, from 0.
        lesson: name of the lesson.
        stage, horizon: of the curriculum, and steps per run.
        report: of the meta-epoch, as Python numbers.
        steps_per_second: optimizee steps per second, without validation.
        validations: of the end of a period: none, one, or two where a new stage got its baseline.
        messages: what a person should be told.
    """

    epoch: int
    lesson: str
    stage: int
    horizon: int
    report: Report
    steps_per_second: float
    validations: list[Validation]
    messages: list[str]


class MetaTrainer:
    """Trains a student on a problem as a `Config` says; see the module's docstring."""

    def __init__(self, config: Config, problem: Problem, student: Optimizer):
        self.config = config
        self.student = student
        self.progress = Progress()
        self.curriculum = _curriculum(config)
        self._seed = make_seed(config.seed)
        self._variables = student.trainable_variables
        self._best = [tf.Variable(variable.value) for variable in self._variables]
        lessons = _lessons(config, problem, student)
        self._meta_optimizers = {lesson.name: _meta_optimizer(config) for lesson in lessons}
        self._meta_epochs = {
            lesson.name: compile_meta_epoch(lesson, self._variables, self._meta_optimizers[lesson.name])
            for lesson in lessons
        }
        self._fresh_slots = {name: [v.numpy() for v in o.variables] for name, o in self._meta_optimizers.items()}
        self._inspect = _inspection(problem, student, config.unroll_length)
        self._rollouts = evaluation.rollouts(problem, student, window=config.unroll_length)

    @property
    def finished(self) -> bool:
        """Whether the last meta-epoch is done or the curriculum has stopped."""
        return bool(self.progress.stopped) or self.progress.epoch >= self.config.num_epochs

    @property
    def horizon(self) -> int:
        """Steps per run in the present stage."""
        return self.curriculum.num_steps_train[self.progress.curriculum.stage]

    def checkpointables(self) -> dict[str, Any]:
        """What `tf.train.Checkpoint` must hold: φ, the best φ, the slots of all meta-optimizers, and the progress."""
        slots = {name: [v.value for v in o.variables] for name, o in self._meta_optimizers.items()}
        meta_parameters = [variable.value for variable in self._variables]
        return {"phi": meta_parameters, "best": self._best, "slots": slots, "progress": _ProgressState(self)}

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
        progress, config = self.progress, self.config
        epoch, stage, horizon = progress.epoch, progress.curriculum.stage, self.horizon
        lesson, started = self._choose_lesson(), time.monotonic()
        report = self._meta_epochs[lesson](
            fold(self._seed, _TRAINING, epoch), tf.constant(epoch), tf.constant(horizon // config.unroll_length)
        )
        report = Report(*(value.numpy().item() for value in report))
        seconds = time.monotonic() - started
        messages = self._count(report, lesson)
        validations = []
        if progress.epoch % config.evaluation_period == 0:
            validations = self._end_period(messages)
        progress.wall_seconds += time.monotonic() - started
        speed = report.num_windows * config.unroll_length / seconds
        return Event(epoch, lesson, stage, horizon, report, speed, validations, messages)

    def _choose_lesson(self) -> str:
        config, progress = self.config, self.progress
        draw = np.random.default_rng([config.seed, progress.epoch, _CHOICE])
        names = list(self._meta_epochs)
        if len(names) == 1 or draw.random() >= config.ratio(progress.curriculum.stage):
            return names[0]
        teachers = names[1:]
        turn = progress.imitations if config.teacher_choice == "cycle" else draw.integers(len(teachers))
        return teachers[turn % len(teachers)]

    def _count(self, report: Report, lesson: str) -> list[str]:
        progress = self.progress
        progress.epoch += 1
        progress.inner_steps += report.num_windows * self.config.unroll_length
        progress.imitations += lesson.startswith("imitation/")
        if not report.diverged:
            progress.skips_in_a_row = 0
            return []
        progress.skips += 1
        progress.skips_in_a_row += 1
        messages = [f"meta-epoch {progress.epoch - 1} ({lesson}) diverged in window {report.num_windows}; skipped"]
        if progress.skips_in_a_row >= self.config.max_skips:
            self._restore_best(clear_slots=True)
            messages.append(
                f"{progress.skips_in_a_row} diverged in a row; back to the last good weights, slots cleared"
            )
            progress.skips_in_a_row = 0
        return messages

    def _end_period(self, messages: list[str]) -> list[Validation]:
        progress = self.progress
        validations = [self._validate()]
        before = progress.curriculum
        progress.curriculum, action = cl.step(self.curriculum, before, validations[0].cost)
        if action is cl.Action.SAVE:
            self._keep_best()
        elif action is cl.Action.NEXT_STAGE:
            self._restore_best(clear_slots=self.config.reset_slots)
            validations.append(self._validate())
            progress.curriculum = cl.rebaseline(self.curriculum, progress.curriculum, validations[1].cost)
            messages.append(
                f"stage {progress.curriculum.stage}: training on {self.horizon} steps; "
                f"to beat: {validations[1].cost:.4g} after {validations[1].losses.shape[1]} steps"
            )
        elif action is cl.Action.STOP:
            progress.stopped = cl.stop_reason(progress.curriculum)
            messages.append(progress.stopped)
        return validations

    def _validate(self) -> Validation:
        """Runs the student on the validation runs; the seeds are always the same, or new ones, as configured."""
        config, stage = self.config, self.progress.curriculum.stage
        fresh = self.progress.epoch if config.validation_seeds == "fresh" else 0
        seeds = evaluation.run_seeds(fold(self._seed, _VALIDATION, fresh), config.num_runs_validation)
        windows = self.curriculum.num_steps_validation[stage] // config.unroll_length
        _, losses = self._rollouts.advance(self._rollouts.start(seeds), seeds, tf.constant(0), tf.constant(windows))
        losses = evaluation.recorded_losses(losses.numpy())
        cost = float(np.mean(losses[:, -config.validation_window :], dtype=np.float64))
        validation = Validation(cost, losses, stage, self.horizon)
        self.progress.history.append(
            {"epoch": self.progress.epoch, "stage": stage, "horizon": losses.shape[1], "cost": cost}
        )
        return validation

    def _keep_best(self):
        for best, variable in zip(self._best, self._variables, strict=True):
            best.assign(variable.value)

    def _restore_best(self, *, clear_slots: bool):
        for best, variable in zip(self._best, self._variables, strict=True):
            variable.assign(best)
        if clear_slots:
            for name, optimizer in self._meta_optimizers.items():
                for variable, value in zip(optimizer.variables, self._fresh_slots[name], strict=True):
                    variable.assign(value)


class _ProgressState(tf.train.experimental.PythonState):
    """Lets a checkpoint hold the trainer's `Progress`."""

    def __init__(self, trainer: MetaTrainer):
        self._trainer = trainer

    def serialize(self) -> str:
        return self._trainer.progress.to_json()

    def deserialize(self, string_value) -> None:
        self._trainer.progress = Progress.from_json(string_value)


def _curriculum(config: Config) -> cl.Curriculum:
    """The configured curriculum; without one, a single stage that never ends of itself (N_valid = N_train)."""
    if config.curriculum:
        return cl.Curriculum(config.stages, min_periods=config.min_periods, patience=config.patience)
    return cl.Curriculum((config.num_steps,), (config.num_steps,), min_periods=config.num_epochs + 1)


def _meta_optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Adam as TensorFlow 1 had it: Keras's, with epsilon 1e-8."""
    return keras.optimizers.Adam(config.learning_rate, epsilon=1e-8, global_clipnorm=config.clip_norm or None)


def _lessons(config: Config, problem: Problem, student: Optimizer) -> list[Lesson]:
    """The configured lessons; the first is the ordinary one, the others imitate a teacher each."""
    if config.random_scaling:
        problem = random_scaling(problem, config.random_scaling_bound)
    teachers = [ANALYTIC[name](config.teacher_learning_rate) for name in config.teachers.split(",")]
    options = {
        "unroll_length": config.unroll_length,
        "objective": OBJECTIVES[config.objective],
        "second_derivatives": config.second_derivatives,
    }
    if config.self_improving:
        decay = config.self_improving_epochs
        lessons = [self_improving(problem, student, teachers, decay_epochs=decay, **options)]
    else:
        lessons = [own_trajectory(problem, student, **options)]
    if config.imitation:
        distance = DISTANCES[config.imitation_distance]
        shape = {"unroll_length": config.unroll_length, "teacher_steps": config.teacher_steps, "distance": distance}
        lessons += [imitation(problem, student, teacher, **shape) for teacher in teachers]
    return lessons


def _inspection(problem: Problem, student: Optimizer, unroll_length: int):
    """Compiles `seed -> {name: values}`: what the student does in one window from the start of a run."""

    @tf.function(autograph=False)
    def inspect(seed):
        params, constants = problem.init(seed)
        state, trajectory = unroll.unroll(
            lambda params, batch: problem.loss(params, constants, batch),
            student,
            unroll.initial_state(student, params),
            problem.sample(seed, unroll_length + 1),
            record=True,
        )
        grads = nest.unflatten(trajectory.grads[-1], like=params)
        return {"updates/log10_size": _log10(trajectory.updates), **student.diagnose(grads, state.optimizer)}

    return inspect


def _log10(values):
    return tf.math.log(tf.abs(values) + 1e-12) / math.log(10.0)
