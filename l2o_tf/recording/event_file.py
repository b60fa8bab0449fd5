"""Writes TensorBoard's event files: one per session of a run, `events.out.tfevents.<seconds>.l2o_tf` in its folder.

An event file is a sequence of serialised `Event`s. `tf.summary` is not used, because it chooses names and times itself:

**Names.** TensorBoard reads the files of a run in the order of their names. The name of a new file comes after those
that are there, whatever the clock says.

**Times** never go back, neither within a session nor from one to the next.

**After a kill** a session repeats some meta-epochs of an earlier file. TensorBoard has two loaders. Its data server
drops the earlier events when a step comes again. Its plain loader drops them only at a *session start*, but not at the
first one of a run. So every file begins with a session start.
"""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

_NUMBERED = re.compile(r"\.tfevents\.(\d+)\.")


class EventFile:
    """The events of one session.

    Args:
        folder: folder of the run, which must be there.
        first: first step of this session. It replaces what earlier files hold from this step on.

    Raises:
        OSError: here and in every method, if the file cannot be written.
    """

    def __init__(self, folder: Path, first: int):
        earlier = {path: int(found[1]) for path in folder.iterdir() if (found := _NUMBERED.search(path.name))}
        number = max([int(time.time()), *(value + 1 for value in earlier.values())])
        self._start = max([float(number), time.time(), *(path.stat().st_mtime for path in earlier)])
        self._began = time.monotonic()
        with _os_errors():
            self._file = tf.io.TFRecordWriter(str(folder / f"events.out.tfevents.{number:010d}.l2o_tf"))
        self._write(Event(wall_time=self._start, file_version="brain.Event:2"))
        self._write(Event(wall_time=self._start, step=first, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, *summaries: Summary) -> None:
        """Adds the summaries of a step."""
        wall_time = self._start + time.monotonic() - self._began
        for summary in summaries:
            self._write(Event(wall_time=wall_time, step=step, summary=summary))

    def flush(self) -> None:
        """Hands everything to the operating system."""
        with _os_errors():
            self._file.flush()

    def close(self) -> None:
        """Flushes and closes; safe to call twice."""
        with _os_errors():
            self._file.close()

    def _write(self, event: Event) -> None:
        with _os_errors():
            self._file.write(event.SerializeToString())


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Turns TensorFlow's errors of a full or read-only disk into OSErrors."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"TensorBoard's event file cannot be written: {' '.join(error.message.split())}") from error
