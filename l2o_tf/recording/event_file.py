"""Writes TensorBoard's event files: one per session of a run, `events.out.tfevents.<seconds>.l2o_tf` in its folder.

`tf.summary` is not used, because it chooses names and times itself. TensorBoard reads the files of a run in the order
of their *names*: that of a new file comes after those that are there, whatever the clock says. *Times* never go back,
neither within a session nor from one to the next.

After a kill a session repeats some meta-epochs of an earlier file. TensorBoard's data server drops the earlier events
when a step comes again; its plain loader does so only at a *session start*, but not at the first one of a run. So every
file begins with a session start.
"""

import contextlib
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.image.metadata import create_summary_metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBERED = re.compile(r"\.tfevents\.(\d+)\.")


class EventFile:
    """The events of one session.

    Args:
        folder: folder of the run, which must be there.
        first: first step of this session. It replaces what earlier files hold from this step on.
        describe: name -> what TensorBoard says of it, in Markdown. Default: nothing.

    Raises:
        OSError: here and in every method, if the file cannot be written.
    """

    def __init__(self, folder: Path, first: int, describe: Callable[[str], str] = lambda name: ""):
        self._folder, self._describe = folder, describe
        earlier = {path: int(found[1]) for path in folder.iterdir() if (found := _NUMBERED.search(path.name))}
        number = max([int(time.time()), *(value + 1 for value in earlier.values())])
        self._start = max([float(number), time.time(), *(path.stat().st_mtime for path in earlier)])
        self._began = time.monotonic()
        with os_errors("TensorBoard's event file"):
            self._file = tf.io.TFRecordWriter(str(folder / f"events.out.tfevents.{number:010d}.l2o_tf"))
        self._write(Event(wall_time=self._start, file_version="brain.Event:2"))
        self._write(Event(wall_time=self._start, step=first, session_log=SessionLog(status=SessionLog.START)))

    def options(self, values: Mapping[str, bool | int | float | str]) -> None:
        """Says by which options this run differs from others (under HPARAMS)."""
        run = "/".join(self._folder.absolute().parts[-2:])  # runs of one name in two folders are two
        self._add(0, hparams.hparams_pb(values, trial_id=run))

    def scalar(self, step: int, name: str, value: float, chart: str = "") -> None:
        """Adds a point to the chart of that name, or of another."""
        self._add(step, scalar_pb(chart or name, value, self._describe(name)))

    def histogram(self, step: int, name: str, values: Any) -> None:
        """Adds a distribution; entries that are not finite are left out."""
        values = np.asarray(values)
        self._add(step, histogram_pb(name, values[np.isfinite(values)], description=self._describe(name)))

    def figure(self, step: int, name: str, figure: "Figure") -> None:
        """Adds a matplotlib figure as an image."""
        png = io.BytesIO()
        figure.savefig(png, format="png")
        width, height = (str(pixels).encode() for pixels in figure.canvas.get_width_height())
        image = make_tensor_proto(np.array([width, height, png.getvalue()], object))
        summary, metadata = Summary(), image_metadata(None, self._describe(name))
        summary.value.add(tag=name, metadata=metadata, tensor=image)
        self._add(step, summary)

    def text(self, step: int, name: str, message: str) -> None:
        """Adds a message."""
        self._add(step, text_pb(name, message, self._describe(name)))

    def flush(self) -> None:
        """Hands everything to the operating system."""
        with os_errors("TensorBoard's event file"):
            self._file.flush()

    def close(self) -> None:
        """Flushes and closes; safe to call twice."""
        with os_errors("TensorBoard's event file"):
            self._file.close()

    def _add(self, step: int, summary: Summary) -> None:
        self._write(Event(wall_time=self._start + time.monotonic() - self._began, step=step, summary=summary))

    def _write(self, event: Event) -> None:
        with os_errors("TensorBoard's event file"):
            self._file.write(event.SerializeToString())


@contextlib.contextmanager
def os_errors(what: str) -> Iterator[None]:
    """Turns TensorFlow's errors of a full or read-only disk into OSErrors."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"{what} cannot be written: {' '.join(error.message.split())}") from error
