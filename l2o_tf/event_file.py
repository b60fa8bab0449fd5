"""What TensorBoard shows of a run, in a file per session, `events.out.tfevents.<seconds>.l2o_tf`, in the run's folder.

An event file is nothing but serialised `Event`s, which are written here one by one: `tf.summary` decides names and
times of its files itself, and both matter.

**Names.** TensorBoard reads the files of a run in the order of their names. Each session's is later than those that are
there, whatever the clock says.

**Times** never go back, neither within a session nor from one to the next.

**After a kill** a session begins with meta-epochs that an earlier file has, too. TensorBoard's data server drops what
lies beyond a step that comes again, its plain loader only at a *session start*, and at the first of a run it does not.
So every file begins with one.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

_NUMBERED = re.compile(r"\.tfevents\.(\d+)\.")


class EventFile:
    """The events of one session.

    Args:
        folder: folder of the run, which must be there.
        first: first step of this session; what earlier files hold from there on is void.
        clock: seconds since 1970.

    Raises:
        OSError: here and in every method, if the file cannot be written.
    """

    def __init__(self, folder: Path, first: int, clock: Callable[[], float] = time.time):
        earlier = {path: int(found[1]) for path in folder.iterdir() if (found := _NUMBERED.search(path.name))}
        number = max([int(clock()), *(value + 1 for value in earlier.values())])
        self._start = max([float(number), clock(), *(path.stat().st_mtime for path in earlier)])
        self._began = time.monotonic()
        with _os_errors():
            self._file = tf.io.TFRecordWriter(str(folder / f"events.out.tfevents.{number:010d}.l2o_tf"))
        self._write(Event(wall_time=self._start, file_version="brain.Event:2"))
        self._write(Event(wall_time=self._start, step=first, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, *summaries: Summary) -> None:
        """Adds what is to be shown at a step."""
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
    """TensorFlow's own errors of a full or read-only disk as what they are."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"TensorBoard's event file cannot be written: {' '.join(error.message.split())}") from error
