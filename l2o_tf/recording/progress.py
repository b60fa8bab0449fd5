"""A progress bar on a terminal, now and then a plain line everywhere else.

Logs of a batch system and of a CI run are no terminals: a bar redrawn there becomes a wall of text.
"""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

from tqdm import tqdm

from problems.closed_pipe import ForgivingStream

BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Progress:
    """How far a loop has come, and about how long it will still take.

    The time left follows from the recent speed and `total`; where a rule may end the loop earlier (the curriculum), it
    is an upper bound.

    Args:
        total: number of units of the whole loop.
        initial: units that an earlier process has done.
        description: what is being done, e.g. `"meta-training"`.
        unit: what is counted, e.g. `"meta-epoch"`.
        every: seconds between two plain lines, where the stream is no terminal.
        stream: where to write; None takes stderr.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        total: int,
        *,
        initial: int = 0,
        description: str = "progress",
        unit: str = "step",
        every: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit, self._description = total, unit, description
        self._every, self._clock = every, clock
        # A loop goes on where its progress cannot be shown.
        self._stream = ForgivingStream(sys.stderr if stream is None else stream, OSError)
        self._start = self._printed = (clock(), initial)
        self._latest = (initial, "")
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=total, initial=initial, desc=description, bar_format=BAR, file=self._stream, dynamic_ncols=True
            )

    def update(self, done: int, note: str = "") -> None:
        """Shows that `done` units are done.

        Args:
            done: units done so far, those of earlier processes included. It may go back, as after a rollback.
            note: short facts, e.g. `"loss 0.27, stage 1"`.
        """
        self._latest = (done, note)
        if self._bar is None:
            if self._clock() - self._printed[0] >= self._every:
                self._print_line()
            return
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def write(self, message: str) -> None:
        """Writes a line of its own, above the bar."""
        if self._bar is None:
            print(message, file=self._stream, flush=True)
        else:
            self._bar.write(message, file=self._stream)

    def close(self) -> None:
        """Shows the last state and leaves the terminal in order; safe to call twice."""
        if self._bar is not None:
            self._bar.close()
        elif self._latest[0] != self._printed[1]:
            self._print_line()

    def _print_line(self) -> None:
        now, (done, note) = self._clock(), self._latest
        share = done / max(1, self._total)
        parts = [f"{self._description}: {self._unit} {done:,}/{self._total:,} ({share:.0%})"]
        parts += [note] if note else []
        parts.append(f"{_duration(now - self._start[0])} elapsed")
        speed = (done - self._printed[1]) / max(now - self._printed[0], 1e-9)
        if speed > 0 and done < self._total:
            parts.append(f"at most {_duration((self._total - done) / speed)} left")
        print(", ".join(parts), file=self._stream, flush=True)
        self._printed = (now, done)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
