"""Runs of random length, most of them short and a few very long (Wichrowska et al., 2017, section 4.2).

The original program of L2O-Scale draws the number of windows of a run, and the steps of each of its windows, as::

    round(Exp(mean)) + least          # rounded half to even

so that an optimizer cannot rely on where a run ends. With a largest value the tail is cut, as in the later program.
"""

from typing import NamedTuple

import numpy as np


class LongTail(NamedTuple):
    """Numbers with a long tail.

    Attributes:
        mean: of the exponential part, above 0.
        least: added to it, at least 1.
        most: where the tail is cut, if anywhere.
    """

    mean: float
    least: int
    most: int | None = None

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`[count]`, int64."""
        drawn = np.rint(rng.exponential(self.mean, count)).astype(np.int64) + self.least
        return drawn if self.most is None else np.minimum(drawn, self.most)


def window_lengths(
    rng: np.random.Generator, horizon: int, unroll_length: int, windows: LongTail | None, steps: LongTail | None
) -> np.ndarray:
    """`[W]`, int32: the steps of each window of one run.

    Args:
        rng: what to draw from.
        horizon: steps of a run of ordinary length.
        unroll_length: steps of a window of ordinary length.
        windows: how many windows; default: as many as the horizon has.
        steps: how long each of them is; default: `unroll_length`.
    """
    count = int(windows.draw(rng, 1)[0]) if windows else horizon // unroll_length
    lengths = steps.draw(rng, count) if steps else np.full(count, unroll_length)
    return lengths.astype(np.int32)
