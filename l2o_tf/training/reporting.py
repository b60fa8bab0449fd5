"""What a person sees of a meta-training: trainer events -> records, TensorBoard, progress bar, pictures."""

import contextlib
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from l2o_tf import plots
from l2o_tf.common import nest
from l2o_tf.common.quoting import reason
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.plots.training import LOSSES
from l2o_tf.recording.event_file import EventFile
from l2o_tf.recording.progress import Progress
from l2o_tf.recording.records import RECORDS, append_record, drop_records, read_records
from l2o_tf.training.arguments import INSPECTION, Arguments
from l2o_tf.training.run_folder import Description
from l2o_tf.training.state import Event, ValidationResult
from l2o_tf.unrolling import batch, unroll
from problems.base import Problem, Seed, fold

PICTURE = "training.png"


class Reporter(contextlib.AbstractContextManager):
    """Writes down the events of a trainer, in a thread while the next meta-epoch runs; a context manager.

    An error of writing is raised by the next `report` or `flush`. After a validation, and at the end, the whole run is
    drawn in `training.png`; if that fails, a warning says so, once. `first` is the first meta-epoch of this session,
    `epochs` the number of the whole run, at most.
    """

    def __init__(self, folder: Path, arguments: Arguments, description: Description, *, first: int, epochs: int):
        self._arguments = arguments
        problem, student = arguments.problems[0], arguments.student
        self._data = str(problem.data) if problem.data else None
        self._is_staged = arguments.curriculum.num_stages > 1
        self._inspect = inspector(arguments.validation_problems[0], student, arguments.windows.length)
        self._records, self._picture = folder / RECORDS, folder / PICTURE
        self._next_picture, self._picture_failed = 0.0, False
        drop_records(self._records, first)
        self._events = EventFile(folder, first, describe)
        about = {"problem": problem.name, "optimizer": student.kind, "seed": arguments.seed}
        self._events.options({**about, **description.chosen(), "data": self._data or "none"})
        self._progress = Progress(epochs, initial=first, description=student.name, unit="meta-epoch")
        self._thread = ThreadPoolExecutor(1, "reporter")
        self._last: Future = self._thread.submit(lambda: None)

    def histograms(self) -> dict[str, np.ndarray]:
        """Weights, the updates of one run's first window, and the states' saturation there."""
        values = {f"weights/{name}": v for name, v in self._arguments.student.named_variables.items()}
        values |= self._inspect(fold(self._arguments.root_seed, INSPECTION))
        return {name: value.numpy() for name, value in values.items()}

    def report(self, event: Event) -> None:
        """Has one meta-epoch recorded, its validations and its messages."""
        histograms = self.histograms() if event.validations else {}
        self._last.result()
        self._last = self._thread.submit(self._record, event, histograms)

    def _record(self, event: Event, histograms: dict[str, np.ndarray]) -> None:
        values, charts = scalars(event)
        append_record(self._records, event.epoch, values)
        for name, value in values.items():
            self._events.scalar(event.epoch, name, value, charts.get(name, name))
        for validation in event.validations:
            self._draw(event.epoch, validation)
        for name, value in histograms.items():
            self._events.histogram(event.epoch, name, value)
        if event.validations and time.monotonic() > self._next_picture:
            self._draw_run()
        for message in event.messages:
            self._progress.write(f"meta-epoch {event.epoch:,}: {message}")
            append_record(self._records, event.epoch, {"event": message})
            self._events.text(event.epoch, "events", message)
        stage = f", stage {event.stage}" if self._is_staged else ""
        note = f"loss {event.report.final_loss:.4g}{stage}, horizon {event.horizon:,}"
        self._progress.update(event.epoch + 1, f"{note}, {event.steps_per_second:,.0f} steps/s")
        self._events.flush()

    def _draw(self, epoch: int, validation: ValidationResult) -> None:
        figure = plots.validation_figure(
            validation.losses,
            horizon_train=validation.horizon_train,
            meta_epoch=epoch + 1,
            stage=validation.stage if self._is_staged else None,
            data=self._data,
        )
        self._events.figure(epoch, f"validation/stage_{validation.stage}", figure)

    def _draw_run(self) -> None:
        """Draws the losses so far. The next picture waits for twenty times as long as this one took."""
        began = time.monotonic()
        records = read_records(self._records)
        if not any(name in record for record in records for name in LOSSES):
            return
        title = f"{self._picture.absolute().parent.name}: meta-training"
        try:
            plots.save(plots.training_figure(records, title=title, data=self._data), self._picture)
        except Exception as error:  # no reason to end a run
            if not self._picture_failed:
                logging.warning("%s cannot be drawn (%s); the run goes on.", self._picture, reason(error))
            self._picture_failed = True
        self._next_picture = 21 * time.monotonic() - 20 * began

    def flush(self) -> None:
        """Waits until all is written, and hands it to the operating system; call it before a checkpoint."""
        self._last.result()
        self._events.flush()

    def __exit__(self, kind, *_) -> None:
        self._thread.shutdown()
        self._progress.close()
        self._events.close()
        if kind is None:
            self._draw_run()


def scalars(event: Event) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers of one meta-epoch by name; name -> TensorBoard's chart, where it has another name.

    Costs over different horizons cannot be compared, so each horizon has a chart. Its line begins with the baseline:
    the cost, on that horizon, of the weights with which the stage begins.
    """
    trained = {"train/meta_loss": event.report.meta_loss, "train/final_loss": event.report.final_loss}
    values: dict[str, float] = {
        "curriculum/stage": event.stage,
        "curriculum/horizon": event.horizon,
        "meta_gradient/norm": event.report.gradient_norm,
        "speed/steps_per_second": event.steps_per_second,
        **(trained if event.lesson == "train" else {event.lesson: event.report.meta_loss}),
        "meta_gradient/skipped": event.skips,
        **({"validation/best": event.best} if event.validations else {}),
    }
    charts = {"validation/best": "best validation"}  # the first of the names, since HPARAMS shows few
    for validation in event.validations:
        (runs, horizon), trained = validation.losses.shape, validation.horizon_train
        name = "validation/baseline" if validation.is_baseline else "validation/loss"
        values |= {
            name: validation.cost,
            f"{name}_at_training_horizon": float(validation.losses[:, trained - 1].mean()),
            f"{name}_spread": float(validation.losses[:, -1].std() / math.sqrt(runs)),
        }
        charts |= {
            name: f"validation/after {horizon} steps",
            f"{name}_at_training_horizon": f"validation at training horizon/after {trained} of {horizon} steps",
            f"{name}_spread": f"validation standard error/after {horizon} steps",
        }
    return values, charts


_LOSS = "Mean loss of the optimizee at the end of the validation runs, of a set of problems ln of the progress"
DESCRIPTIONS = {
    "curriculum/stage": "Stage of the curriculum, from 0.",
    "curriculum/horizon": "Steps of the training run.",
    "meta_gradient/norm": "Largest global norm of the meta-gradient in the meta-epoch, before any clipping.",
    "meta_gradient/skipped": "Meta-epochs so far that diverged.",
    "speed/steps_per_second": "Optimizee steps per second of training, validations aside.",
    "train/meta_loss": "Meta-loss, whose gradient is taken; mean over the windows of the run.",
    "train/final_loss": "Loss of the optimizee at the end of the training run.",
    "imitation/": "Distance of the student's updates from this teacher's; mean over the windows of the run.",
    "validation/best": f"{_LOSS}: the lowest of the present stage of the curriculum.",
    "validation/loss": f"{_LOSS}. A stage's first point is its baseline, which the stage has to beat.",
    "validation/loss_at_training_horizon": "Mean loss of the validation runs after the steps that were trained on.",
    "validation/loss_spread": "Standard error of the mean loss at the end of the validation runs.",
    "validation/stage_": "ln loss of the validation runs, on the horizon that was trained on and beyond.",
    "weights/": "Meta-parameters.",
    "updates/": "log10 of the size of the updates in the first window of a run.",
    "gates/": "Activations of the gates at the end of that window.",
    "events": "New stages, diverged meta-epochs, and how it ended.",
}
"""Name, or how names begin -> what TensorBoard says of it."""


def describe(name: str) -> str:
    """What a name that is recorded means; empty if that is not known."""
    name = name.replace("validation/baseline", "validation/loss")
    groups = (text for start, text in DESCRIPTIONS.items() if start.endswith(("/", "_")) and name.startswith(start))
    return DESCRIPTIONS.get(name) or next(groups, "")


def inspector(problem: Problem, student: Optimizer, num_steps: int) -> Callable[[Seed], dict[str, tf.Tensor]]:
    """Compiles `seed -> {name: values}`: what the student does in the first `num_steps` steps of a run."""
    student = batch.Optimizees(problem).in_blocks_if_large(student)

    @tf.function(autograph=False)
    def inspect(seed):
        params, constants = problem.init(seed)
        state, trajectory = unroll.unroll(
            lambda params, batch: problem.loss(params, constants, batch),
            student,
            unroll.initial_state(student, params, seed),
            problem.sample(seed, num_steps + 1),
            record=True,
        )
        grads = nest.unflatten(trajectory.grads[-1], like=params)
        log10_size = tf.math.log(tf.abs(trajectory.updates) + 1e-12) / math.log(10.0)
        return {"updates/log10_size": log10_size, **student.diagnose(grads, state.optimizer)}

    return inspect
