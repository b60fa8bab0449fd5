"""Where a meta-training stands, and what each of its meta-epochs did."""

import dataclasses
import json
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.training import curriculum as cl
from l2o_tf.training.meta_epoch import Report


@dataclasses.dataclass(eq=False)
class TrainingState(tf.train.experimental.PythonState):
    """Where a meta-training stands: plain values, which a checkpoint holds as JSON.

    Attributes:
        epoch: meta-epochs done.
        inner_steps: optimizee steps done in training.
        counts: meta-epochs of each technique, in the order of the trainer's `lessons`.
        skips, skips_in_a_row: diverged meta-epochs, those included after which the weights were not finite.
        curriculum: state of the curriculum; its first stage serves runs without a curriculum.
        history: one dict per validation: `epoch`, `stage`, `horizon` and `cost`.
        stopped: why meta-training ended before its last meta-epoch, or "".
        wall_seconds: time spent in training and validation, over all sessions.
    """

    epoch: int = 0
    inner_steps: int = 0
    counts: list[int] = dataclasses.field(default_factory=list)
    skips: int = 0
    skips_in_a_row: int = 0
    curriculum: cl.CurriculumState = cl.CurriculumState()  # noqa: RUF009 - a tuple
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    stopped: str = ""
    wall_seconds: float = 0.0

    def serialize(self) -> str:
        """JSON that `deserialize` restores exactly."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps({**values, "curriculum": self.curriculum._asdict()})

    def deserialize(self, string_value: str) -> None:
        """Takes over all values of the text."""
        values = json.loads(string_value)
        if "imitations" in values:  # a checkpoint of an earlier version, with one technique beside the first
            imitations = values.pop("imitations")
            values["counts"] = [values["epoch"] - imitations, imitations]
        stage = values["curriculum"]
        stage |= {"best": float(stage["best"]), "phase": cl.Phase(stage["phase"])}  # earlier versions wrote "inf"
        for name, value in {**values, "curriculum": cl.CurriculumState(**stage)}.items():
            setattr(self, name, value)


class ValidationResult(NamedTuple):
    """One validation: `cost` decides, `losses [R, N]` are its curves; `is_baseline`: what a stage has to beat."""

    cost: float
    losses: np.ndarray
    stage: int
    horizon_train: int
    is_baseline: bool = False


class Event(NamedTuple):
    """What one call of `MetaTrainer.advance` did.

    Attributes:
        epoch: index of the meta-epoch, from 0.
        problem, lesson: names of the optimizee and of the lesson.
        stage, horizon: of the curriculum, and steps per run.
        report: of the meta-epoch, as Python numbers.
        steps_per_second: optimizee steps per second, without validation.
        validations: one at the end of a period, and one of the baseline where a stage that has one begins.
        messages: what a person should be told.
        skips: meta-epochs so far that diverged.
        best: lowest validation cost of the present stage, after this meta-epoch.
    """

    epoch: int
    problem: str
    lesson: str
    stage: int
    horizon: int
    report: Report
    steps_per_second: float
    validations: list[ValidationResult]
    messages: list[str]
    skips: int
    best: float
