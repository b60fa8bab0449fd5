"""Output that nobody reads any more, as of `python -m problems | head`, is no error."""

import os
import sys
from typing import Any, TextIO


class Outlet:
    """A text stream that falls silent when it can no longer be written; for the rest it is the stream.

    Args:
        stream: where to write.
        forgiven: what counts as that. Default: a pipe whose reader has gone.
    """

    def __init__(self, stream: TextIO, forgiven: type[OSError] = BrokenPipeError):
        self._stream, self._forgiven = stream, forgiven

    def write(self, text: str) -> int:
        """Writes a text, or nothing; returns its length."""
        try:
            self._stream.write(text)
        except self._forgiven:
            self._fall_silent()
        return len(text)

    def flush(self) -> None:
        """Hands on what is held back, or drops it."""
        try:
            self._stream.flush()
        except self._forgiven:
            self._fall_silent()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fall_silent(self) -> None:
        """What the stream still holds, and all that follows, goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        finally:
            os.close(nowhere)


def install() -> None:
    """For the output of this process: a script calls it first. What stderr cannot take has no other place to go."""
    sys.stdout = Outlet(sys.stdout)
    sys.stderr = Outlet(sys.stderr, OSError)
