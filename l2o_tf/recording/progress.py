"""A progress bar on a terminal, now and then a plain line everywhere else.

Logs of a batch system and of a CI run are no terminals: a bar redrawn there becomes a wall of text.
"""

import sys

from tqdm import tqdm

from problems.common.closed_pipe import ForgivingStream

SECONDS = 30.0
"""Between two lines where there is no terminal."""

BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
LINE = "{desc}: {unit} {n_fmt}/{total_fmt} ({percentage:.0f}%){postfix}, {elapsed} elapsed, at most {remaining} left"


class Progress:
    """How far a loop has come, and about how long it will still take; tqdm's bar or lines.

    The time left follows from the recent speed and `total`; where a rule may end the loop earlier (the curriculum), it
    is an upper bound. What cannot be written is forgotten: a loop goes on where its progress cannot be shown.

    Args:
        total: number of units of the whole loop.
        initial: units that an earlier process has done.
        description: what is being done, e.g. the name of the student.
        unit: what is counted.
        shown: whether anything is shown. Default True.
    """

    def __init__(
        self, total: int, *, initial: int = 0, description: str = "progress", unit: str = "step", shown: bool = True
    ) -> None:
        self._stream = ForgivingStream(sys.stderr, OSError)
        options = {"total": total, "initial": initial, "desc": description, "unit": unit, "file": self._stream}
        options["disable"] = not shown
        if self._stream.isatty():
            self._bar = tqdm(**options, bar_format=BAR, dynamic_ncols=True)
        else:
            self._bar = _Lines(**options, bar_format=LINE, mininterval=SECONDS, miniters=1, delay=SECONDS)

    def update(self, done: int, note: str = "") -> None:
        """Shows that `done` units are done, those of earlier processes included, and a note, e.g. `"loss 0.27"`."""
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def write(self, message: str) -> None:
        """Writes a line of its own, above the bar."""
        self._bar.write(message, file=self._stream)

    def close(self) -> None:
        """Shows the last state and leaves the terminal in order; safe to call twice."""
        self._bar.close()


class _Lines(tqdm):
    """tqdm where nothing can be redrawn: lines, one below the other."""

    monitor_interval = 0  # no thread is needed

    @staticmethod
    def status_printer(file):
        return lambda text: print(text, file=file, flush=True)

    def write(self, message, file):
        print(message, file=file, flush=True)

    def close(self):
        if not self.disable and self.n != self.last_print_n:
            self.display()
        self.disable = True
