"""Records of a run -> JSON lines, TensorBoard, progress bar.

What can be compared later (every scalar, every event) goes to `records.jsonl`, which needs no library to read; what is
looked at goes to TensorBoard's event files in the same folder (`tensorboard --logdir=FOLDER`).

**After a kill.** A killed run has records of meta-epochs after its last checkpoint; these will be run again. Their
records are dropped from `records.jsonl` and from TensorBoard, and so is a half last line. So the file of a resumed run
equals that of an uninterrupted one, except for wall times (`without_wall_times`).
"""

import contextlib
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.image.metadata import create_summary_metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

from l2o_tf.recording.event_file import EventFile
from l2o_tf.recording.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORDS = "records.jsonl"
WALL_TIME = "wall_time"
SPEED = "speed/"
"""Prefix of the scalars that depend on the machine and the hour."""

Record = dict[str, Any]


class Recorder(contextlib.AbstractContextManager):
    """Everything a run writes down while it goes on. Use it as a context manager, or call `close`.

    Args:
        folder: folder of the run; made if missing. `records.jsonl` and TensorBoard's files go into it.
        total: number of meta-epochs of the whole run, at most.
        first: first meta-epoch that this process runs, 0 for a new run. Records of this meta-epoch and later ones are
            dropped; for a new run that is all of them.
        name: what stands before the progress bar.
        describe: name -> what TensorBoard says of it, in Markdown. Default: nothing.

    Raises:
        OSError: here and in every method, if the folder cannot be written or the disk is full.
        ValueError: if `records.jsonl` is damaged elsewhere than in its last line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        total: int,
        first: int = 0,
        name: str = "meta-training",
        describe: Callable[[str], str] = lambda name: "",
    ) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / RECORDS
        lost = drop_records(self._path, first)
        if lost:
            logging.warning("%s lacks %d of %d meta-epochs; the run goes on.", self._path, lost, first)
        self._events = EventFile(self._folder, first)
        self._describe = describe
        self._progress = Progress(total, initial=first, description=name, unit="meta-epoch")

    def options(self, values: Mapping[str, bool | int | float | str]) -> None:
        """Says by which options this run differs from others (TensorBoard only, under HPARAMS)."""
        run = "/".join(self._folder.absolute().parts[-2:])  # runs of one name in two folders are two
        self._events.add(0, hparams.hparams_pb(values, trial_id=run))

    def scalars(self, step: int, values: Mapping[str, Any], charts: Mapping[str, str] | None = None) -> None:
        """Records Python numbers: one JSON line, and one point per TensorBoard chart.

        Args:
            step: meta-epoch.
            values: name -> number. What is not finite becomes null in JSON.
            charts: name -> the chart's name, where it is another.
        """
        self._write_line(step, values)
        self._events.add(
            step,
            *(scalar_pb((charts or {}).get(name, name), value, self._describe(name)) for name, value in values.items()),
        )
        self._events.flush()

    def histograms(self, step: int, values: Mapping[str, Any]) -> None:
        """Records distributions (TensorBoard only); entries that are not finite are left out."""
        for name, value in values.items():
            array = np.asarray(value)
            self._events.add(step, histogram_pb(name, array[np.isfinite(array)], description=self._describe(name)))

    def figure(self, step: int, name: str, figure: "Figure") -> None:
        """Records a matplotlib figure as an image (TensorBoard only)."""
        png = io.BytesIO()
        figure.savefig(png, format="png")
        width, height = (str(pixels).encode() for pixels in figure.canvas.get_width_height())
        image = make_tensor_proto(np.array([width, height, png.getvalue()], object))
        summary, metadata = Summary(), image_metadata(None, self._describe(name))
        summary.value.add(tag=name, metadata=metadata, tensor=image)
        self._events.add(step, summary)

    def event(self, step: int, message: str) -> None:
        """Says that something happened: a new stage, a rollback. Shown, and recorded in both files."""
        self._progress.write(f"meta-epoch {step:,}: {message}")
        self._write_line(step, {"event": message})
        self._events.add(step, text_pb("events", message, self._describe("events")))

    def progress(self, done: int, note: str) -> None:
        """Shows that `done` meta-epochs are done, and a note."""
        self._progress.update(done, note)

    def flush(self) -> None:
        """Hands everything to the operating system; call it before a checkpoint is written."""
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes; safe to call twice."""
        self._progress.close()
        self._events.close()

    def __exit__(self, *_) -> None:
        self.close()

    def _write_line(self, step: int, values: Mapping[str, Any]) -> None:
        record = {"meta_epoch": int(step), WALL_TIME: round(time.time(), 3)}
        for name, value in values.items():
            record[name] = None if isinstance(value, float) and not math.isfinite(value) else value
        with _named(self._path), open(self._path, "a", encoding="utf-8") as file:  # others may have replaced the file
            file.write(json.dumps(record, allow_nan=False) + "\n")


def read_records(path: str | os.PathLike) -> list[Record]:
    """Reads `records.jsonl`; a last line that was cut in half is left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if another line is no record.
    """
    return [record for _, record in _parse(Path(path))]


def drop_records(path: Path, first: int) -> int:
    """Drops the records of meta-epoch `first` and later, and a half last line. Atomic; a missing file becomes empty.

    Returns:
        How many of the meta-epochs before `first` have no record, as in a file that was shortened.

    Raises:
        ValueError: if `first` is positive and a line other than the last is no record.
    """
    parsed = _parse(path) if first and path.exists() else []
    kept = [(line, record) for line, record in parsed if record["meta_epoch"] < first]
    part = path.with_name(f".{path.name}.part")
    with _named(path):
        part.write_text("".join(line + "\n" for line, _ in kept), encoding="utf-8")
        os.replace(part, path)
    return first - len({record["meta_epoch"] for _, record in kept if "event" not in record})


def without_wall_times(records: Sequence[Mapping[str, Any]]) -> list[Record]:
    """The records without what depends on the machine and the hour: what two equal runs have in common."""
    return [
        {key: value for key, value in record.items() if key != WALL_TIME and not key.startswith(SPEED)}
        for record in records
    ]


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Names the file in an error of writing: that of a full disk does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _parse(path: Path) -> list[tuple[str, Record]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            parsed.append((line, record | {"meta_epoch": int(record["meta_epoch"])}))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            if number < len(lines):
                raise ValueError(
                    f"Received {path} whose line {number} of {len(lines)} is no record: {line[:80]!r}; "
                    "expected one JSON object with a 'meta_epoch' per line; repair or remove that line."
                ) from error
    return parsed
