"""A progress bar on a terminal, now and then a plain line everywhere else.

Logs of a batch system and of a CI run are no terminals: a bar redrawn there becomes a wall of text.
"""

import sys
from typing import TextIO

from tqdm import tqdm

from problems.closed_pipe import ForgivingStream

SECONDS = 30.0
"""Between two lines where there is no terminal."""

BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
LINE = (
    "{desc}: meta-epoch {n_fmt}/{total_fmt} ({percentage:.0f}%){postfix}, {elapsed} elapsed, at most {remaining} left"
)


def progress_bar(total: int, initial: int, description: str, stream: TextIO | None = None) -> tqdm:
    """How far a meta-training has come, and about how long it will still take.

    The time left follows from the recent speed and `total`; where a rule may end the loop earlier (the curriculum), it
    is an upper bound.

    Args:
        total: meta-epochs of the whole run.
        initial: meta-epochs that an earlier process has done.
        description: what stands before the bar.
        stream: where to write; None takes stderr. What cannot be written there is forgotten: training goes on where its
            progress cannot be shown.
    """
    stream = ForgivingStream(sys.stderr if stream is None else stream, OSError)
    options = {"total": total, "initial": initial, "desc": description, "file": stream}
    if stream.isatty():
        return tqdm(**options, bar_format=BAR, dynamic_ncols=True)
    return _Lines(**options, bar_format=LINE, mininterval=SECONDS, miniters=1, delay=SECONDS)


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
