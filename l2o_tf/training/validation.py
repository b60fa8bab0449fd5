"""How good a student is in the middle of its training: runs of fixed length on problems of its own.

One problem: the cost is the mean loss at the end, `mean_r f(θ_N)`, as in the paper and both programs. A set of
problems: their losses do not compare, so the cost is the mean progress `mean_r ln(f(θ_N) / (f(θ_0) + ε) + ε)`,
ε = 1e-6, as in L2O-Scale's meta-loss; run r of R is of member `r P // R`, so that all parts of the set are heard.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers.base import Optimizer
from problems.base import Problem, Seed


class Validation(NamedTuple):
    """One validation: `cost` decides, `losses [R, N_valid]` are its curves; `is_baseline`: what a stage has to beat."""

    cost: float
    losses: np.ndarray
    stage: int
    horizon_train: int
    is_baseline: bool = False


class Validator:
    """The validation runs of a student.

    Args:
        optimizees: P problems.
        student: what optimizes them.
        unroll_length: steps per window.
        jit_compile: whether XLA compiles a window.
    """

    def __init__(self, optimizees: Sequence[Problem], student: Optimizer, *, unroll_length: int, jit_compile: bool):
        self._optimizees = optimizees
        self._student = student
        self._options = {"window": unroll_length, "jit_compile": jit_compile}
        self._compiled_runs: dict[int, rollouts.Rollouts] = {}

    def run(self, seed: Seed, num_runs: int, num_steps: int) -> np.ndarray:
        """`[R, W, T+1]`: losses of R runs of `num_steps` steps, as `evaluation` records them."""
        seeds = rollouts.run_seeds(seed, num_runs)
        steps = tf.constant(num_steps - num_steps % self._options["window"])
        members = np.arange(num_runs) * len(self._optimizees) // num_runs
        found = []
        for member in np.unique(members):
            own = seeds[int(np.argmax(members == member)) :][: int(np.sum(members == member))]
            runs = self._compiled(int(member))
            found.append(runs.advance(runs.start(own), own, tf.constant(0), steps)[1].numpy())
        return np.concatenate(found)

    def cost(self, losses: np.ndarray, window: int) -> float:
        """The cost of what `run` returned; the end of a run is the mean of its last `window` losses."""
        last = np.mean(rollouts.recorded_losses(losses)[:, -window:], axis=1, dtype=np.float64)
        if len(self._optimizees) == 1:
            return float(np.mean(last))
        first = losses[:, 0, 0].astype(np.float64)
        with np.errstate(invalid="ignore"):
            return float(np.mean(np.log(last / (first + 1e-6) + 1e-6)))

    def _compiled(self, member: int) -> rollouts.Rollouts:
        if member not in self._compiled_runs:
            self._compiled_runs[member] = rollouts.rollouts(self._optimizees[member], self._student, **self._options)
        return self._compiled_runs[member]
