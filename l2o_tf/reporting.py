"""What a person sees of a meta-training: trainer events -> records, TensorBoard, progress bar, pictures."""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from l2o_tf import plots
from l2o_tf.meta_trainer import Event, MetaTrainer, Validation
from l2o_tf.records import Recorder, markdown_table
from problems.base import DataInfo


class Reporter:
    """Writes down the events of a trainer, in a thread of its own while the next meta-epoch runs; a context manager.

    What cannot be written is an error of the next `report` or `flush`.

    Args:
        folder: folder of the run.
        trainer: the trainer, already restored where the run is a resumed one.
        data: the data of its problem.
    """

    def __init__(self, folder: Path, trainer: MetaTrainer, data: DataInfo | None):
        self._trainer = trainer
        self._data = str(data) if data else None
        self._recorder = Recorder(
            folder,
            progress_total=trainer.config.num_epochs,
            resume_from_step=trainer.standing.epoch,
            description="+".join(trainer.config.kinds),
        )
        self._recorder.text("configuration", markdown_table({**trainer.config.to_dict(), "data": self._data}))
        self._thread = ThreadPoolExecutor(1, "reporter")
        self._last: Future = self._thread.submit(lambda: None)

    def report(self, event: Event) -> None:
        """Has one meta-epoch recorded, its validations and its messages."""
        histograms = self._trainer.histograms() if event.validations else {}
        self._last.result()
        self._last = self._thread.submit(self._record, event, self._trainer.standing.skips, histograms)

    def _record(self, event: Event, skips: int, histograms: dict[str, np.ndarray]) -> None:
        self._recorder.scalars(event.epoch, _scalars(event) | {"meta_gradient/skipped": skips})
        for validation in event.validations:
            self._draw(event.epoch, validation)
        if histograms:
            self._recorder.histograms(event.epoch, histograms)
        for message in event.messages:
            self._recorder.event(event.epoch, message)
        self._recorder.progress(
            event.epoch + 1,
            loss=event.report.final_loss,
            stage=event.stage if self._trainer.config.curriculum else None,
            horizon=event.horizon,
            steps_per_second=event.steps_per_second,
        )

    def _draw(self, epoch: int, validation: Validation) -> None:
        figure = plots.validation_figure(
            validation.losses,
            horizon_train=validation.horizon_train,
            meta_epoch=epoch + 1,
            stage=validation.stage if self._trainer.config.curriculum else None,
            data=self._data,
        )
        self._recorder.figure(epoch, f"validation/stage_{validation.stage}", figure)

    def flush(self) -> None:
        """Waits for what is not written yet, and hands it to the operating system; call it before a checkpoint."""
        self._last.result()
        self._recorder.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        self._recorder.close()


def _scalars(event: Event) -> dict[str, float]:
    """The numbers of one meta-epoch under their names in TensorBoard."""
    values = {
        "curriculum/stage": event.stage,
        "curriculum/horizon": event.horizon,
        "meta_gradient/norm": event.report.gradient_norm,
        "speed/steps_per_second": event.steps_per_second,
    }
    if event.lesson == "train":
        values |= {"train/meta_loss": event.report.meta_loss, "train/final_loss": event.report.final_loss}
    else:
        values |= {event.lesson: event.report.meta_loss}
    for validation in event.validations:
        name = "validation/baseline" if validation.is_baseline else "validation/loss"
        at_training_horizon = float(validation.losses[:, validation.horizon_train - 1].mean())
        values |= {
            name: validation.cost,
            f"{name}_at_training_horizon": at_training_horizon,
            f"{name}_spread": float(validation.losses[:, -1].std() / math.sqrt(len(validation.losses))),
        }
    return values
