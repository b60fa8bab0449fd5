"""Meta-training in a folder, which gets all that is needed to look at a run, to continue it, and to use it."""

import contextlib
import numbers
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from l2o_tf import saving
from l2o_tf.common import folders, xla_cache
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.saving.weights import describe
from l2o_tf.training import curriculum as cl
from l2o_tf.training import run_folder
from l2o_tf.training.reporting import Reporter
from l2o_tf.training.run_folder import Description
from l2o_tf.training.state import Event
from l2o_tf.training.trainer import Trainer
from problems.base import require_positive


class TrainingResult(NamedTuple):
    """What came of `MetaTrainer.run`.

    Attributes:
        student: the trained optimizer; it has the best weights.
        folder: where the run is.
        epochs: meta-epochs done, those of earlier sessions included.
        diverged: how many of them diverged.
        history: one dict per validation: `epoch`, `stage`, `horizon` and `cost`.
        finished: whether nothing is left to do. If not, `run` with the same arguments goes on.
        signal: the number of the signal that ended this session early, or 0.
        outcome: how it ended, in a sentence.

    Example:
        `MetaTrainer.run` returns one:

        >>> from pathlib import Path
        >>> import l2o_tf as l2o
        >>> student, folder = l2o.L2ODM(), Path("runs/mine")
        >>> print(l2o.TrainingResult(student, folder, 80, 0, [], finished=True, signal=0, outcome="Done."))
        Done. 80 meta-epochs, 0 of them diverged.
        Weights: runs/mine/weights.npz
    """

    student: Optimizer
    folder: Path
    epochs: int
    diverged: int
    history: list[dict[str, Any]]
    finished: bool
    signal: int
    outcome: str

    def __str__(self) -> str:
        rest = "" if self.finished else "\nStart it again to continue."
        return (
            f"{self.outcome} {self.epochs:,} meta-epochs, {self.diverged:,} of them diverged.\n"
            f"Weights: {self.folder / saving.WEIGHTS}{rest}"
        )


class MetaTrainer(Trainer):
    """Trains a student, by default as the paper does: `advance` by one meta-epoch, `run` as a whole, in a folder.

    Args:
        student: the optimizer to be trained. It is trained in place, from the weights that it has.
        problems: one problem, or a sequence; each meta-epoch draws one of them.
        lessons: techniques, see `l2o_tf.training.lessons`. Their `ratio`s say in which share of the meta-epochs each is
            used; the first one gets what the others leave. Default: the student's own trajectory, judged by the losses.
        curriculum: a `Curriculum`, or an integer: the steps of every run. Default: the paper's curriculum.
        windows: steps per truncation window, or `Windows`. Default 20, from the paper.
        meta_gradient: how a window becomes a gradient of the meta-loss. Default `FirstOrder()`: gradients of the
            optimizee count as constants.
        meta_optimizer: a Keras optimizer; each lesson gets a copy with slots of its own. Default: Adam with learning
            rate 1e-3 and epsilon 1e-8, from the original program.
        schedule: `(epoch, stage) -> factor` of the meta-learning rate, or a sequence of such functions, whose factors
            are multiplied, e.g. `StageDecay`. Default: constant.
        validation: when and how weights are judged. Default `Validation()`.
        validation_problems: the problems of the validation runs. Default: `problems`.
        average: `RunningAverage`; the average of the weights is then validated and kept. Default None: the weights.
        meta_batch_size: K, optimizees at the same time in a meta-epoch. The meta-gradient is the mean of theirs.
            Default 1, from the paper.
        jit_compile: whether XLA compiles windows. Default True.
        seed: decides everything that is drawn, except for the student's weights. Default 0.
        max_skips: diverged meta-epochs in a row after which the last good weights return. Default 10.
        beats_its_start: whether the student's first weights are validated first. They are then the result until other
            weights beat them. Default False, as for weights that nobody has trained.
        workers: the processes that train together, from `connect`. Each has a trainer with the same arguments and takes
            an equal share of the K optimizees and of the validation runs. Default: this process alone.

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

    def run(
        self,
        folder: str | os.PathLike,
        *,
        epochs: int = 5000,
        resume: bool = True,
        checkpoint_seconds: float = 60.0,
        description: Description | None = None,
    ) -> TrainingResult:
        """Runs or continues a meta-training in a folder, and leaves the best weights in the student.

        The folder gets records, TensorBoard's files, a picture, checkpoints and the best weights, see
        `l2o_tf.training.run_folder`. The same call continues a run that was stopped or killed; the weights are then
        those of a run that never stopped. Ctrl-C finishes the present meta-epoch, saves, and returns.

        Of several workers, the chief alone uses the folder. When one is told to stop, all do.

        Args:
            folder: the folder of the run; made if missing.
            epochs: meta-epochs at most, those of earlier sessions included. Default 5000.
            resume: whether a run that the folder holds is continued. Default True.
            checkpoint_seconds: seconds between checkpoints; there is one at each validation, too. Default 60.
            description: what the run was started with. Default: the arguments of this trainer.

        Raises:
            ValueError: if an argument is out of range, or if the folder holds another run or is in use, or if workers
                have been given different arguments, data or programs.
            OSError: if the folder cannot be written or the disk is full. A ConnectionError: another worker is lost.

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
        folder = folders.as_path(folder)
        kept = _Kept(self, folder, description, epochs, checkpoint_seconds)
        keeper = kept if self.workers.is_chief else _NotKept()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.workers.together())
            self._meet({**description.decisive(), "files": description.files, "epochs": epochs})
            received = stack.enter_context(run_folder.stop_signals())
            self.workers.told(lambda: kept.open(stack, resume))
            self._mirror()
            while not (signal := self.workers.most(*received[:1])) and not self._is_finished(epochs):
                keeper.keep(self.advance(last=self.state.epoch + 1 == epochs))
            keeper.finish()
            self.workers.most(0)  # which nobody passes before the chief has finished
        self._pause()
        state, finished = self.state, self._is_finished(epochs)
        done = state.epoch, state.skips, list(state.history)
        return TrainingResult(self.student, folder, *done, finished, signal, self._outcome(finished))

    def _is_finished(self, epochs: int) -> bool:
        return bool(self.state.stopped) or self.state.epoch >= epochs

    def _export(self, folder: Path, description: Description) -> None:
        """Writes the best weights so far, and the card; without any validation of finite cost these are untrained."""
        state, data = self.state, self.problems[0].data
        card = {
            **describe(self.student),
            "config": description.config,
            "data": data._asdict() if data else None,
            "meta_epochs": state.epoch,
            "inner_steps": state.inner_steps,
            "diverged_meta_epochs": state.skips,
            "stopped": state.stopped,
            "untrained": not self.beats_its_start and not cl.has_result(state.curriculum),
            "wall_seconds": round(state.wall_seconds, 1),
            "validation": state.history,
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


class _Kept:
    """A run that is kept in its folder: what the chief does besides training."""

    def __init__(
        self, trainer: MetaTrainer, folder: Path, description: Description, epochs: int, checkpoint_seconds: float
    ):
        self._trainer, self._folder, self._description = trainer, folder, description
        self._epochs, self._seconds = epochs, checkpoint_seconds

    def open(self, stack: contextlib.ExitStack, resume: bool) -> bytes:
        """Restores what the folder has; the stack closes it."""
        trainer, description = self._trainer, self._description
        data = trainer.problems[0].data
        folder = stack.enter_context(run_folder.open_run(self._folder, description, data, resume=resume))
        self._checkpoints = run_folder.Checkpoints(folder, trainer.checkpointables())
        trainer._warn_of_an_early_validation(self._epochs)
        reporter = Reporter(folder, trainer, description, first=trainer.state.epoch, epochs=self._epochs)
        self._reporter = stack.enter_context(reporter)
        self._saved = time.monotonic()
        return b""

    def keep(self, event: Event) -> None:
        """Records a meta-epoch, and saves from time to time."""
        self._reporter.report(event)
        if event.validations or time.monotonic() - self._saved > self._seconds:
            self._save()
        if event.validations:  # after the checkpoint: where there are weights, there is one
            self._trainer._export(self._folder, self._description)

    def finish(self) -> None:
        """Saves where the run stands, and the best weights."""
        self._save()
        self._trainer._export(self._folder, self._description)

    def _save(self) -> None:
        self._reporter.flush()
        self._checkpoints.save()
        xla_cache.seal()
        self._saved = time.monotonic()


class _NotKept:
    """The same run for the other workers, which leave the folder to the chief."""

    def keep(self, event: Event) -> None:
        """Nothing to do."""

    def finish(self) -> None:
        """Nothing to do."""
