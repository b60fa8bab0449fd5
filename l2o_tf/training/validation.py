"""How good is a student in the middle of its training? Runs of fixed length decide.

One problem: the cost is the mean loss at the end, `mean_r f(θ_N)`, as in the paper and both programs. A set of
problems: their losses do not compare, so the cost is the mean progress `mean_r ln(f(θ_N) / (f(θ_0) + ε) + ε)`,
ε = 1e-6, as in L2O-Scale's meta-loss.
"""

import dataclasses
import functools
import numbers
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from l2o_tf.common.workers import ALONE, Workers
from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers.base import Optimizer
from problems.base import Problem, Seed, require_positive

MOST_LOSSES = 10**9  # of one validation, which must fit into memory


@dataclasses.dataclass(frozen=True)
class Validation:
    """When and how a trainer validates. Another cost is a subclass with its own `cost`.

    Args:
        period: meta-epochs between two validations. Default 100, from the original program.
        num_runs: R, runs of a validation. Default 20, from the original program. With P problems, run r is of problem
            `r P // R`, so that all parts of a set are heard.
        window: losses at the end of each run that are averaged into the cost. Default 1: the last.
        fresh_seeds: whether every validation draws new runs, as in the original program. Default False: the runs are
            always the same.

    Raises:
        ValueError: if a number is no positive integer.

    Example:
        A validation that looks at the worst run, and not at the mean:

        >>> import l2o_tf as l2o
        >>> class Worst(l2o.Validation):
        ...     def cost(self, first, losses, num_problems):
        ...         return float(losses[:, -1].max())
        >>> Worst(period=50, num_runs=10)
        Worst(period=50, num_runs=10, window=1, fresh_seeds=False)
    """

    period: int = 100
    num_runs: int = 20
    window: int = 1
    fresh_seeds: bool = False

    def __post_init__(self):
        for name in ("period", "num_runs", "window"):
            require_positive(name, getattr(self, name))
        if not isinstance(self.fresh_seeds, bool):
            raise ValueError(f"Received fresh_seeds={self.fresh_seeds!r}, expected True or False.")

    def cost(self, first: np.ndarray, losses: np.ndarray, num_problems: int) -> float:
        """The number that decides which weights are best; lower is better, NaN never is.

        Args:
            first: `[R]`, the loss of each run before its first update.
            losses: `[R, N]`, the loss of each run after each of its N updates.
            num_problems: P, the number of validation problems.
        """
        last = np.mean(losses[:, -self.window :], axis=1, dtype=np.float64)
        if num_problems == 1:
            return float(np.mean(last))
        with np.errstate(invalid="ignore"):
            return float(np.mean(np.log(last / (first.astype(np.float64) + 1e-6) + 1e-6)))

    def check(self, horizons: Sequence[int]) -> None:
        """Refuses horizons that are too short for the window, or too long for memory."""
        shortest, longest = min(horizons), max(horizons)
        if self.window > shortest:
            raise ValueError(
                f"Received a validation window of {self.window}, expected at most {shortest}, the steps of a "
                "validation run."
            )
        most = rollouts.MOST_LOSSES
        if self.num_runs * longest > most:
            raise ValueError(
                f"Received {self.num_runs} validation runs of {longest} steps, expected at most "
                f"{rollouts.MOST_LOSSES:,} losses in a validation. Take fewer runs, or shorter ones."
            )


class Validator:
    """The validation runs of a student, which workers share out.

    `options` are those of `rollouts`; the runs of a problem are compiled once.
    """

    def __init__(
        self,
        validation: Validation,
        problems: Sequence[Problem],
        student: Optimizer,
        workers: Workers = ALONE,
        **options,
    ):
        self._validation, self._problems, self._workers = validation, problems, workers
        self._compiled = functools.cache(lambda member: rollouts.rollouts(problems[member], student, **options))

    def run(self, seed: Seed, num_steps: int) -> tuple[float, np.ndarray]:
        """`(cost, losses [R, N])` of runs of `num_steps` steps, a multiple of the window."""
        num_runs, num_problems = self._validation.num_runs, len(self._problems)
        part = self._workers.share.part(num_runs)
        seeds, steps = part.of(rollouts.run_seeds(seed, num_runs)), tf.constant(num_steps)
        members = part.of(np.arange(num_runs) * num_problems // num_runs)
        found = []
        for member in np.unique(members):
            own, runs = seeds[members == member], self._compiled(int(member))
            found.append(runs.advance(runs.start(own, steps), own, tf.constant(0), steps)[1].numpy())
        (losses,) = self._workers.joined([np.concatenate(found)] if found else [])  # [R, W, T+1]
        curves = rollouts.recorded_losses(losses)
        cost = self._validation.cost(losses[:, 0, 0], curves, num_problems)
        if not isinstance(cost, numbers.Real | np.ndarray | tf.Tensor) or np.ndim(cost):
            kind = type(self._validation).__name__
            raise ValueError(f"Received a {kind} whose cost returned {cost!r}, expected a number.")
        return float(cost), curves
