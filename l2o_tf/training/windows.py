"""The truncation windows of a run: how many there are, and how many steps each has.

L2O-Scale's original program draws both at random, so that an optimizer cannot rely on where a run ends: most runs are
short and a few are very long (Wichrowska et al., 2017, section 4.2).
"""

import dataclasses
import math
import numbers

import numpy as np

from problems.base import require_positive


@dataclasses.dataclass(frozen=True)
class LongTail:
    """Random numbers with a long tail::

        n = min(round(Exp(mean)) + least, most)          # rounded half to even

    Args:
        mean: mean of the exponential part, above 0.
        least: smallest number, at least 1.
        most: largest number. Default None: the tail is not cut, as in the original program.

    Raises:
        ValueError: if a value is out of range.

    Example:
        >>> import l2o_tf as l2o
        >>> import numpy as np
        >>> l2o.LongTail(mean=4.0, least=2, most=9).draw(np.random.default_rng(0), 5)
        array([5, 6, 2, 2, 4])
    """

    mean: float
    least: int
    most: int | None = None

    def __post_init__(self):
        if not isinstance(self.mean, numbers.Real) or not 0 < self.mean < math.inf:
            raise ValueError(f"Received mean={self.mean!r}, expected a number above 0.")
        require_positive("least", self.least)
        if self.most is not None:
            require_positive("most", self.most)
            if self.most < self.least:
                raise ValueError(f"Received most={self.most}, expected at least least={self.least}.")

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`[count]`, int64."""
        drawn = np.rint(rng.exponential(self.mean, count)).astype(np.int64) + self.least
        return drawn if self.most is None else np.minimum(drawn, self.most)


@dataclasses.dataclass(frozen=True)
class Windows:
    """How a run is cut into truncation windows.

    Args:
        length: T, steps of an ordinary window. Default 20, from the paper. Validations use such windows.
        count: number of windows of a training run. Default None: `horizon / length`.
        steps: steps of each window of a training run. Default None: `length`, which lets shapes be static.

    Raises:
        ValueError: if a value is of another type or out of range.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.Windows(20, count=l2o.LongTail(mean=50.0, least=5))
        Windows(length=20, count=LongTail(mean=50.0, least=5, most=None), steps=None)
    """

    length: int = 20
    count: LongTail | None = None
    steps: LongTail | None = None

    def __post_init__(self):
        require_positive("length", self.length)
        for name in ("count", "steps"):
            value = getattr(self, name)
            if not (value is None or hasattr(value, "draw")):
                raise ValueError(f"Received {name}={value!r}, expected a LongTail or None.")

    def draw(self, rng: np.random.Generator, horizon: int) -> np.ndarray:
        """`[W]`, int32: the steps of each window of one training run; `horizon`: those of a run of ordinary length."""
        count = int(self.count.draw(rng, 1)[0]) if self.count else horizon // self.length
        lengths = self.steps.draw(rng, count) if self.steps else np.full(count, self.length)
        return lengths.astype(np.int32)
