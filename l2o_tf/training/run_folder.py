"""The folder of one meta-training: what it was asked for, where it stands, and what came out.

- `config.json`: the description, the data and the digests of Python files that it was started with;
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
import signal
import sys
import tempfile
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow as tf
from absl import logging

from l2o_tf import saving
from l2o_tf.common import folders
from l2o_tf.common.quoting import reason
from l2o_tf.common.reading import read_json
from l2o_tf.common.writing import write_atomically
from l2o_tf.recording.event_file import os_errors
from l2o_tf.recording.records import RECORDS
from l2o_tf.training.state import TrainingState
from problems.base import DataInfo
from problems.common.python_files import digests

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"


class Description:
    """What a run was started with. A folder is continued only by a run of the same description.

    Args:
        config: name -> value, JSON types.
        defaults: name -> value for names that a description lacks, e.g. since it is older.
        irrelevant: names whose values may differ between the sessions of a run.
        files: names such as `path/to/file.py:name` that the run uses; their digests are kept.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any] = MappingProxyType({}),
        irrelevant: Collection[str] = (),
        files: Iterable[str] = (),
    ):
        self.config = json.loads(json.dumps(config))
        self.defaults = json.loads(json.dumps(dict(defaults)))
        self.irrelevant = frozenset(irrelevant)
        self.files = digests(files)

    def chosen(self) -> dict[str, Any]:
        """The values that are not the defaults."""
        return {
            name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for name, value in _flat(self.config).items()
            if value != self.defaults.get(name)
        }

    def decisive(self) -> dict[str, Any]:
        """The values that must not differ between the sessions of a run, nor between its workers."""
        values = _flat(self.config).items()
        return {name: value for name, value in values if name.partition(".")[0] not in self.irrelevant}

    def differences(self, found: Mapping[str, Any]) -> list[str]:
        """How the description `found` differs from this one, in words."""
        there, now = ({**self.defaults, **_flat(values)} for values in (found, self.config))
        names = [name for name in dict.fromkeys((*now, *there)) if name.partition(".")[0] not in self.irrelevant]
        return [
            f"{name}: {there.get(name)!r} there, {now.get(name)!r} now"
            for name in names
            if there.get(name) != now.get(name)
        ]


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Dictionaries in dictionaries as one, with names such as `curriculum.patience`."""
    found = {}
    for name, value in values.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


@contextlib.contextmanager
def open_run(
    folder: str | os.PathLike, description: Description, data: DataInfo | None, *, resume: bool
) -> Iterator[Path]:
    """The folder of a new run, or of an existing one if it is the same, for this process alone.

    Raises:
        ValueError: if another process is at work there, or the folder holds a run and `resume` is off, or a run of
            another description or other data, or one of which that is not known.
        OSError: if the folder cannot be written.
    """
    folder = folders.make_folder(folder, flag="")
    with folders.alone_in(folder, flag=""):
        if (folder / CONFIG).exists() and not resume:
            raise ValueError(f"Received the folder {folder}, which holds a run, and not to resume it. Use another one.")
        if (folder / CONFIG).exists():
            _recognise(folder, description, data)
        else:
            _begin(folder, description, data)
        yield folder


def _begin(folder: Path, description: Description, data: DataInfo | None) -> None:
    """Describes the run in a new folder."""
    left = [name for name in (CHECKPOINTS, RECORDS, saving.WEIGHTS, saving.CARD) if (folder / name).exists()]
    if left:
        raise ValueError(
            f"Received the folder {folder}, which holds {', '.join(left)} but no {CONFIG}, which says of what run they "
            "are. Put that file back, or use another folder."
        )
    asked = {"config": description.config, "data": data._asdict() if data else None, "files": description.files}
    write_atomically(folder / CONFIG, json.dumps(asked, indent=2).encode())


def _recognise(folder: Path, description: Description, data: DataInfo | None) -> None:
    """Refuses the folder of another run."""
    try:
        found = read_json(folder / CONFIG)
        config, found_data = found["config"], DataInfo(**found["data"]) if found["data"] is not None else None
        differences = description.differences(config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Received {folder / CONFIG}, which is damaged or not of a run ({error}). Start the run in another folder."
        ) from error
    if found_data != data:
        differences.append(f"data: {found_data or 'none'} there, {data or 'none'} now")
    if differences:
        raise ValueError(
            f"Received the folder {folder}, which holds a run of another configuration ({'; '.join(differences)}). "
            "Use the same options to continue it, or another folder for a new run."
        )
    before = found.get("files", {})
    changed = [name for name, digest in description.files.items() if before.get(name) != digest]
    if changed:
        logging.warning("The file of %s has changed since this run began; it may go on as another.", changed[0])


class Checkpoints:
    """The checkpoints of what `MetaTrainer.checkpointables` names; restores the newest one that can be read, if any.

    Raises:
        ValueError: if there are checkpoints and none of them can be read, or none though the run has written weights.
    """

    def __init__(self, folder: Path, contents: Mapping[str, Any]):
        self._state: TrainingState = contents["standing"]
        directory = folder / CHECKPOINTS
        if set("*?[]\\") & set(str(directory)):
            directory = self._linked(directory)
        _recover_index(directory)
        self._contents = tf.train.Checkpoint(**contents)
        self._manager = tf.train.CheckpointManager(self._contents, str(directory), max_to_keep=2)
        damaged, before = [], self._state.epoch
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
                f"Received the folder {folder}, which holds weights of a run and no checkpoint to continue it from. "
                "Use another folder for a new run."
            )
        if before and before != self._state.epoch:
            logging.warning(
                "This trainer has done %d meta-epochs elsewhere. Its folder %s holds a run of %d, which goes on.",
                *(before, folder, self._state.epoch),
            )
        self._saved = self._state.epoch if self._manager.checkpoints else None

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
        epoch = self._state.epoch
        if epoch == self._saved:
            return
        with os_errors(f"the checkpoint of meta-epoch {epoch}"):
            self._manager.save(epoch)
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
    write_atomically(folder / "checkpoint", "\n".join(lines).encode())


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of obeying them at once; a second one of a kind ends the process.

    At a Python prompt or in a notebook, whose process holds other work too, the second one is obeyed as ever. Outside
    of the main thread, where Python has no signals, nothing is collected.
    """
    received = []

    def receive(number, frame):
        del frame
        received.append(number)
        signal.signal(number, before[number] if hasattr(sys, "ps1") else signal.SIG_DFL)
        # Not `print`, whose buffer may be in use at this moment.
        with contextlib.suppress(OSError):
            os.write(2, b"\nFinishing this meta-epoch, then saving. Once more to stop at once.\n")

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
