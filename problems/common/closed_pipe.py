"""Drops output that nobody reads, in the place of an error: `python -m problems | head`, or a closed stream."""

import os
import sys
from typing import Any, TextIO


class ForgivingStream:
    """A text stream that drops its output after an error that is `forgiven`: by default, a pipe without a reader."""

    def __init__(self, stream: TextIO, forgiven: type[OSError] = BrokenPipeError):
        self._stream, self._forgiven = stream, forgiven

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except self._forgiven:
            self._fall_silent()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except self._forgiven:
            self._fall_silent()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fall_silent(self) -> None:
        """Sends what is buffered, and all that follows, to the null device."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        finally:
            os.close(nowhere)


def install() -> None:
    """Wraps stdout and stderr; scripts call it first.

    On stderr every error is forgiven, because there is no other place to report it. A stream that is closed, as by
    `2>&-`, becomes the null device. Otherwise the next file that is opened would be stderr.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    sys.stdout = ForgivingStream(sys.stdout or os.fdopen(1, "w"))
    sys.stderr = ForgivingStream(sys.stderr or os.fdopen(2, "w"), OSError)
