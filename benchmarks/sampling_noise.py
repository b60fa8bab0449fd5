"""How far sampled meta-gradients are from the full one, window by window.

    python -m benchmarks.sampling_noise
    python -m benchmarks.sampling_noise --optimizer=RNNprop,RNNprop-CL-IL --share=0.25,0.125 --num_runs=8

R runs begin at different points; the weights of the optimizer stay as they are. In every window, g_r is the full
first-order meta-gradient of run r, and e_r a sampled one of the same window. Two numbers are printed for each window::

    error / norm   = mean_r |e_r - g_r| / |g_r|
    error / spread = √(Σ_r |e_r - g_r|² / Σ_r |g_r - mean g|²)

Below 1, the second says that the sample adds less noise than the next run's starting point and minibatches do.
"""

import numpy as np
import tensorflow as tf
from absl import flags

from l2o_tf import load, make_optimizer
from l2o_tf.cli import console
from l2o_tf.optimizers import CELLS, Optimizer
from l2o_tf.training.lessons.lesson import Lesson, Setting
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.unrolling.meta_gradients import FirstOrder, MetaGradient, Sampled
from problems import make_problem
from problems.base import Problem, fold, make_seed

LENGTH = 20


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_string("problem", "mnist", "Optimizee.", flag_values=values)
    text = "Architectures with random weights, or shipped names."
    flags.DEFINE_list("optimizer", ["L2O-DM", "L2O-DM-CL"], text, flag_values=values)
    flags.DEFINE_list("share", ["0.25", "0.125", "0.03125"], "Shares of the coordinates.", flag_values=values)
    flags.DEFINE_integer("num_windows", 5, "Windows of 20 steps per run.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("num_runs", 8, "R, at least 2.", lower_bound=2, flag_values=values)


def gradients(lesson: Lesson, run_number: int, num_windows: int) -> np.ndarray:
    """`[W, |φ|]`: the meta-gradients of one run."""
    seed, found = make_seed(run_number), []
    run = lesson.start(fold(seed, 0), tf.constant(0), num_windows * LENGTH)
    for window in range(num_windows):
        run, outcome = lesson.window(run, fold(seed, 1, window), LENGTH)
        found.append(np.concatenate([gradient.numpy().ravel() for gradient in outcome.gradients]))
    return np.stack(found)


def noise(full: np.ndarray, sampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(error / norm, error / spread)` of each window, from gradients `[R, W, |φ|]`."""
    errors, spread = (np.sum(x**2, axis=2) for x in (sampled - full, full - full.mean(axis=0)))
    return np.mean(np.sqrt(errors / np.sum(full**2, axis=2)), axis=0), np.sqrt(errors.sum(axis=0) / spread.sum(axis=0))


def measure(problem: Problem, student: Optimizer, method: MetaGradient, num_runs: int, num_windows: int) -> np.ndarray:
    """`[R, W, |φ|]`: the meta-gradients of all runs."""
    lesson = OwnTrajectory().lessons(Setting(problem, student, method))[0]
    return np.stack([gradients(lesson, run, num_windows) for run in range(num_runs)])


def main(values: flags.FlagValues) -> int:
    """Prints a table, as Markdown."""
    console.import_tensorflow()
    problem, sizes = make_problem(values.problem), (values.num_runs, values.num_windows)
    print(
        f"| optimizer | share | error / norm, windows 1 to {values.num_windows} | error / spread |",
        "|---|---|---|---|",
        sep="\n",
    )
    for name in values.optimizer:
        student = make_optimizer(name, {"seed": 0}) if name in CELLS else load(name)
        full = measure(problem, student, FirstOrder(), *sizes)
        for share in map(float, values.share):
            found = noise(full, measure(problem, student, Sampled(share), *sizes))
            print(
                f"| {name} | {share:g} |",
                " | ".join(" ".join(f"{x:.2f}" for x in row) for row in found),
                "|",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
