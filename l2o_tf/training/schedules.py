"""Schedules of the meta-learning rate: `(epoch, stage) -> factor`.

A schedule is any such function. `epoch` counts meta-epochs from 0, `stage` the stages of the curriculum from 0. Before
every meta-epoch the rate of the meta-optimizer is multiplied by the factor.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable

from problems.base import require_positive

Schedule = Callable[[int, int], float]
"""`(epoch, stage) -> factor`."""


@dataclasses.dataclass(frozen=True)
class StageDecay:
    """A smaller rate in every later stage of the curriculum: `factor^stage`.

    Args:
        factor: above 0, at most 1.

    Raises:
        ValueError: if it is not.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.StageDecay(0.5)(epoch=700, stage=2)
        0.25
    """

    factor: float

    def __post_init__(self):
        is_number = isinstance(self.factor, numbers.Real) and not isinstance(self.factor, bool)
        if not is_number or not 0 < self.factor <= 1:
            raise ValueError(f"Received factor={self.factor!r}, expected a number above 0, at most 1.")

    def __call__(self, epoch: int, stage: int) -> float:
        return self.factor**stage


@dataclasses.dataclass(frozen=True)
class CosinePeriods:
    """From 1 toward 0 within every period of P meta-epochs: `1/2 (1 + cos(π e/P))`, `e = epoch mod P`.

    With the period of the validation, each validation is one of settled weights (warm restarts: Loshchilov and Hutter,
    2017, *SGDR*).

    Args:
        period: P. Default 100, the period of `Validation`.

    Raises:
        ValueError: if it is no positive integer.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.CosinePeriods(period=4)(epoch=6, stage=0)
        0.5
    """

    period: int = 100

    def __post_init__(self):
        require_positive("period", self.period)

    def __call__(self, epoch: int, stage: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * (epoch % self.period / self.period)))
