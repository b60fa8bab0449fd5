"""Records of a run -> JSON lines, TensorBoard, progress bar.

The training loop knows one object, `Recorder`, and says each thing once. What can be compared later (every scalar,
every event) goes to `records.jsonl`, which needs no library to read; what is looked at goes to TensorBoard's event
files in the same folder (`tensorboard --logdir OUTPUT_DIR`).

**After a kill.** A killed run has recorded meta-epochs that its last checkpoint does not know; they will be run again.
`resume_from_step` names the first of them: its records and all later ones are dropped from `records.jsonl`, TensorBoard
is told to forget them, and a last line that the kill cut in half goes too. The file of a resumed run therefore equals
that of an uninterrupted one, wall times aside (`without_wall_times`).
"""

import contextlib
import io
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import numpy as np
import tensorflow as tf

from l2o_tf.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORDS = "records.jsonl"
EVENTS = "tensorboard"
WALL_TIME = "wall_time"
SPEED = "speed/"
"""Prefix of the scalars that depend on the machine and the hour."""

Record = dict[str, Any]


class Recorder:
    """Everything a run writes down while it goes on. Use it as a context manager, or call `close`.

    Args:
        output_dir: folder of the run; made if missing. `records.jsonl` and the folder `tensorboard` go into it.
        progress_total: number of meta-epochs of the whole run, at most.
        resume_from_step: first meta-epoch that this process runs, 0 for a new run. Records of this meta-epoch and later
            ones are dropped; for a new run that is all of them.
        description: what stands before the progress bar.
        stream: where progress and events are shown; None takes stderr.

    Raises:
        OSError: here and in every method, if the folder cannot be written or the disk is full.
        ValueError: if `records.jsonl` is damaged elsewhere than in its last line.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        *,
        progress_total: int,
        resume_from_step: int = 0,
        description: str = "meta-training",
        stream: TextIO | None = None,
    ) -> None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        drop_records(folder / RECORDS, resume_from_step)
        with _os_errors():
            self._events = _event_writer(folder / EVENTS, resume_from_step)
        self._path = folder / RECORDS
        self._progress = Progress(
            progress_total, initial=resume_from_step, description=description, unit="meta-epoch", stream=stream
        )

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Records numbers: one JSON line, and one point per TensorBoard chart.

        Args:
            step: meta-epoch.
            values: name -> int, float or scalar array. Non-finite numbers become null in JSON.
        """
        values = {name: _plain(name, value) for name, value in values.items()}
        self._write_line(step, values)
        with _os_errors(), self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def histograms(self, step: int, values: Mapping[str, Any]) -> None:
        """Records distributions (TensorBoard only); entries that are not finite are left out."""
        with _os_errors(), self._events.as_default(step=step):
            for name, value in values.items():
                array = np.asarray(value)
                tf.summary.histogram(name, array[np.isfinite(array)])

    def text(self, name: str, markdown: str, step: int = 0) -> None:
        """Records a text in Markdown (TensorBoard only), e.g. `text("configuration", markdown_table(config))`."""
        with _os_errors(), self._events.as_default(step=step):
            tf.summary.text(name, markdown)

    def figure(self, step: int, name: str, figure: "Figure") -> None:
        """Records a matplotlib figure as an image (TensorBoard only)."""
        png = io.BytesIO()
        figure.savefig(png, format="png")
        with _os_errors(), self._events.as_default(step=step):
            tf.summary.image(name, tf.io.decode_png(png.getvalue(), channels=3)[tf.newaxis])

    def event(self, step: int, message: str) -> None:
        """Says that something happened: a new stage, a rollback. Shown, and recorded in both files."""
        self._progress.write(f"meta-epoch {step:,}: {message}")
        self._write_line(step, {"event": message})
        self.text("events", message, step)

    def progress(
        self,
        done: int,
        *,
        loss: float | None = None,
        stage: int | None = None,
        horizon: int | None = None,
        steps_per_second: float | None = None,
    ) -> None:
        """Moves the progress bar.

        Args:
            done: meta-epochs done so far.
            loss: loss worth watching; shown as it is.
            stage: stage of the curriculum.
            horizon: steps per run at present.
            steps_per_second: optimizee steps per second.
        """
        notes = [
            None if loss is None else f"loss {loss:.4g}",
            None if stage is None else f"stage {stage}",
            None if horizon is None else f"horizon {horizon:,}",
            None if steps_per_second is None else f"{steps_per_second:,.0f} steps/s",
        ]
        self._progress.update(done, ", ".join(note for note in notes if note))

    def flush(self) -> None:
        """Hands everything to the operating system; call it before a checkpoint is written."""
        with _os_errors():
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes; safe to call twice."""
        self._progress.close()
        with _os_errors():
            self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_line(self, step: int, values: Mapping[str, Any]) -> None:
        record = {"meta_epoch": int(step), WALL_TIME: round(time.time(), 3)}
        record |= {name: _finite_or_none(value) for name, value in values.items()}
        with open(self._path, "a", encoding="utf-8") as file:  # each time, since others may replace the file meanwhile
            file.write(json.dumps(record, allow_nan=False) + "\n")


def read_records(path: str | os.PathLike) -> list[Record]:
    """Reads `records.jsonl`; a last line that was cut in half is left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if another line is no record.
    """
    return [record for _, record in _parse(Path(path))]


def drop_records(path: Path, first: int) -> None:
    """Drops the records of meta-epoch `first` and later, and a half last line. Atomic; a missing file becomes empty.

    Raises:
        ValueError: if `first` is positive and a line other than the last is no record.
    """
    kept = [line for line, record in _parse(path) if record["meta_epoch"] < first] if first and path.exists() else []
    part = path.with_name(f".{path.name}.part")
    part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    os.replace(part, path)


def without_wall_times(records: Sequence[Mapping[str, Any]]) -> list[Record]:
    """The records without what depends on the machine and the hour: what two equal runs have in common."""
    return [
        {key: value for key, value in record.items() if key != WALL_TIME and not key.startswith(SPEED)}
        for record in records
    ]


def markdown_table(values: Mapping[str, Any], header: tuple[str, str] = ("name", "value")) -> str:
    """A configuration as a table of two columns."""
    rows = [header, ("---", "---"), *((name, f"`{value}`" if str(value) else "") for name, value in values.items())]
    return "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _parse(path: Path) -> list[tuple[str, Record]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            parsed.append((line, record | {"meta_epoch": int(record["meta_epoch"])}))
        except (ValueError, TypeError, KeyError) as error:
            if number < len(lines):
                raise ValueError(
                    f"Received {path} whose line {number} of {len(lines)} is no record: {line[:80]!r}; "
                    "expected one JSON object with a 'meta_epoch' per line; repair or remove that line."
                ) from error
    return parsed


def _plain(name: str, value: Any) -> int | float:
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "biuf":
        raise ValueError(
            f"Received {value!r} for the scalar '{name}', expected a single number; "
            "record arrays with `histograms` and words with `event`."
        )
    return array.item()


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """TensorFlow's own errors of a full or read-only disk as what they are."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"TensorBoard's event file cannot be written: {' '.join(error.message.split())}") from error


def _event_writer(folder: Path, resume_from_step: int) -> tf.summary.SummaryWriter:
    """A writer of event files; what earlier ones hold from `resume_from_step` on is declared void.

    TensorBoard's data server drops what lies beyond a step that comes again, its plain loader only at the second
    and later *session starts* of a run. `tf.summary` cannot write those, but an event file is nothing but a file of
    serialised `Event`s. Files are read in the order of their names, so a restart is named after the newest file, and
    waits until the clock shows another second than that file's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(folder.glob("*tfevents*"), default=None)
    name = f"{newest.name}.resumed" if newest else "events.out.tfevents.0000000000.start"
    while newest and f".tfevents.{int(time.time())}." in newest.name:
        time.sleep(0.01)
    start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    with tf.io.TFRecordWriter(str(folder / name)) as file:
        for event in (
            tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2"),
            tf.compat.v1.Event(wall_time=time.time(), step=resume_from_step, session_log=start),
        ):
            file.write(event.SerializeToString())
    return tf.summary.create_file_writer(str(folder), flush_millis=10_000)
