"""The folder of one meta-training: what it was asked for, where it stands, and what came out.

- `config.json`: the resolved configuration, the data and the problem's file that it was started with;
- `checkpoints/`: everything that a resumed run needs; `tf.train.CheckpointManager`, the last two;
- `records.jsonl`: one line per meta-epoch and event;
- `events.out.tfevents.*`: the same to look at, with TensorBoard;
- `training.png`: all of it in one picture;
- `weights.npz`: the best weights so far;
- `optimizer.json`: what they are: architecture, provenance, validation history.

A checkpoint is complete or not there: TensorFlow writes it under a temporary name, and the manager's index is renamed
into place last. Killing the process at any moment costs the time since the last one. Should a file be damaged later,
the run goes on from the checkpoint before, which leads to the same weights.
"""

import contextlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from l2o_tf import saving
from l2o_tf.cli import console
from l2o_tf.cli.config import FIELDS, Config
from l2o_tf.common.quoting import reason
from l2o_tf.common.reading import read_json
from l2o_tf.recording.records import RECORDS
from l2o_tf.training.curriculum import has_result
from l2o_tf.training.trainer import MetaTrainer
from problems.base import DataInfo
from problems.python_files import digests

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
PATTERNS = frozenset("*?[]\\")
"""Characters that have a meaning in patterns of file names."""

IRRELEVANT = ("data_dir", "num_epochs")
"""Options that may differ between the sessions of a run. They change nothing that was done before, with one exception:
a run that ends in the middle of a period ends with a validation."""


@contextlib.contextmanager
def open_run(output_dir: str | os.PathLike, config: Config, data: DataInfo | None, *, resume: bool) -> Iterator[Path]:
    """The folder of a new run, or of an existing one if it is the same, for this process alone.

    Args:
        output_dir: the folder; made if missing.
        config: the resolved configuration.
        data: the data that the problem really uses.
        resume: whether an existing run is to be continued.

    Raises:
        ValueError: if another process is at work there, or the folder holds a run and `resume` is off, or a run of
            another configuration or other data, or one of which that is not known.
        OSError: if the folder cannot be written.
    """
    folder = console.make_folder(output_dir)
    with console.alone_in(folder):
        _begin_or_recognise(folder, config, data, resume)
        yield folder


def _begin_or_recognise(folder: Path, config: Config, data: DataInfo | None, resume: bool) -> None:
    """Describes the run in a new folder; in the folder of a run, checks that it is the same."""
    asked = {
        "config": config.to_dict(),
        "data": data._asdict() if data else None,
        "files": digests([config.problem, *config.kinds]),
    }
    path = folder / CONFIG
    if not path.exists():
        left = [name for name in (CHECKPOINTS, RECORDS, saving.WEIGHTS, saving.CARD) if (folder / name).exists()]
        if left:
            raise ValueError(
                f"Received --output_dir={folder}, which holds {', '.join(left)} but no {CONFIG}, which says of what "
                "run they are. Put that file back, or use another folder."
            )
        saving.write_atomically(path, json.dumps(asked, indent=2).encode())
        return
    if not resume:
        raise ValueError(f"Received --noresume with --output_dir={folder}, which holds a run. Use another folder.")
    found = _read_config(path)
    differences = [
        f"{name}: {found['config'].get(name, FIELDS[name].default)!r} there, {value!r} now"
        for name, value in asked["config"].items()
        if name not in IRRELEVANT and found["config"].get(name, FIELDS[name].default) != value
    ]
    if found["data"] != asked["data"]:
        differences.append(f"data: {_say(found['data'])} there, {_say(asked['data'])} now")
    if differences:
        raise ValueError(
            f"Received --output_dir={folder}, which holds a run of another configuration ({'; '.join(differences)}). "
            "Use the same options to continue it, or another folder for a new run."
        )
    if found.get("files", {}) != asked["files"]:
        logging.warning("The file of %s has changed since this run began; it may go on as another.", config.problem)


class Checkpoints:
    """The checkpoints of a trainer; restores it from the newest one that can be read, if there is any.

    Args:
        folder: folder of the run.
        trainer: the trainer; nothing but its checkpoints may have advanced it.

    Raises:
        ValueError: if there are checkpoints and none of them can be read, or none though the run has written weights.
    """

    def __init__(self, folder: Path, trainer: MetaTrainer):
        self._trainer = trainer
        directory = folder / CHECKPOINTS
        if PATTERNS.intersection(str(directory)):
            directory = self._linked(directory)
        _recover_index(directory)
        self._contents = tf.train.Checkpoint(**trainer.checkpointables())
        self._manager = tf.train.CheckpointManager(self._contents, str(directory), max_to_keep=2)
        damaged = []
        for path in reversed(self._manager.checkpoints):
            try:
                self._contents.restore(path).assert_consumed()
                break
            except Exception as error:  # from IndexError to OpError: TensorFlow raises anything for a damaged file
                damaged.append(f"{folder / CHECKPOINTS / Path(path).name} ({reason(error)})")
        else:
            if damaged:
                raise ValueError(
                    f"Received damaged checkpoints: {'; '.join(damaged)}. None is left to continue from; start the run "
                    "in another folder."
                )
        if damaged:
            logging.warning("Damaged checkpoint %s; going on from the one before.", damaged[0])
        if not self._manager.checkpoints and (folder / saving.WEIGHTS).exists():
            raise ValueError(
                f"Received --output_dir={folder}, which holds weights of a run and no checkpoint to continue it from. "
                "Use another folder for a new run."
            )
        self._saved = trainer.standing.epoch if self._manager.checkpoints else None

    def _linked(self, folder: Path) -> Path:
        """A link to the folder whose name has no pattern characters: TensorFlow takes names of files for patterns."""
        folder.mkdir(parents=True, exist_ok=True)
        link = Path(tempfile.mkdtemp(prefix="l2o_tf-"), folder.name)
        weakref.finalize(self, shutil.rmtree, link.parent, ignore_errors=True)  # of links, not of what they lead to
        link.symlink_to(folder.absolute())
        return link

    def save(self) -> None:
        """Writes a checkpoint, unless there is one of this meta-epoch: a complete file is never written over.

        Raises:
            OSError: if the folder cannot be written or the disk is full. Earlier checkpoints are then as they were.
        """
        epoch = self._trainer.standing.epoch
        if epoch == self._saved:
            return
        try:
            self._manager.save(epoch)
        except tf.errors.OpError as error:
            raise OSError(
                f"the checkpoint of meta-epoch {epoch} cannot be written: {' '.join(error.message.split())}"
            ) from error
        self._saved = epoch


def _recover_index(folder: Path) -> None:
    """Writes the index of the checkpoints again, if it is lost or damaged."""
    found = sorted(folder.glob("ckpt-*.index"), key=lambda path: int(path.stem.partition("-")[2]))
    with contextlib.suppress(ValueError):  # which an empty index is to TensorFlow
        if not found or tf.train.get_checkpoint_state(str(folder)):
            return
    logging.warning("The index of the checkpoints in %s is lost or damaged; going by their files.", folder)
    lines = [f'model_checkpoint_path: "{found[-1].stem}"']
    lines += [f'all_model_checkpoint_paths: "{path.stem}"' for path in found]
    lines += [f"all_model_checkpoint_timestamps: {path.stat().st_mtime}" for path in found]
    saving.write_atomically(folder / "checkpoint", "\n".join(lines).encode())


def export(folder: Path, trainer: MetaTrainer, data: DataInfo | None) -> None:
    """Writes the best weights so far, and the card that says what they are.

    Until a validation has a finite cost, these are the random weights of the start, and the card says `"untrained"`.
    """
    standing = trainer.standing
    card: dict[str, Any] = {
        "optimizer": trainer.student.kind,
        "architecture": trainer.student.architecture,
        "config": trainer.config.to_dict(),
        "data": data._asdict() if data else None,
        "meta_epochs": standing.epoch,
        "inner_steps": standing.inner_steps,
        "diverged_meta_epochs": standing.skips,
        "stopped": standing.stopped,
        "untrained": not trainer.config.initial_weights and not has_result(standing.curriculum),
        "wall_seconds": round(standing.wall_seconds, 1),
        "validation": standing.history,
        "provenance": saving.provenance(),
    }
    saving.save_weights(folder, trainer.best_weights(), card)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
        if isinstance(found["config"], dict) and (found["data"] is None or DataInfo(**found["data"])):
            return found
        raise ValueError("it holds something else")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Received {path}, which is damaged or not of a run ({error}). Start the run in another folder."
        ) from error


def _say(data: dict[str, Any] | None) -> str:
    return str(DataInfo(**data)) if data else "none"
