"""Milliseconds per step and optimizee of K optimizees at the same time: in one compiled step, or a call for each.

    python -m benchmarks.bench_many
    python -m benchmarks.bench_many --problem=quadratic,digits --count=1,2,4,8 --optimizer=L2O-Scale

Meta-epochs of three windows of 20 steps, as meta_train.py compiles them, in one process; both ways take turns, medians
over the repetitions. `--meta_batch_size` of meta_train.py takes the second on a processor and the first on a GPU.
"""

import statistics
import time
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import app, flags

from l2o_tf.cli import console
from l2o_tf.optimizers import make_optimizer
from l2o_tf.training.lessons.lesson import mean_of, own_trajectory
from l2o_tf.training.meta_epoch import compile_meta_epoch
from l2o_tf.unrolling import objectives
from problems import make_problem
from problems.base import make_seed

UNROLL_LENGTH, WINDOWS = 20, 3
_FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this script; not on import, since others have some of the same names."""
    flags.DEFINE_list("problem", ["mnist", "digits", "quadratic"], "Optimizees.")
    flags.DEFINE_string("optimizer", "L2O-DM", "Architecture.")
    flags.DEFINE_list("count", ["1", "2", "4", "8"], "K, numbers of optimizees.")
    flags.DEFINE_integer("repetitions", 5, "Timed meta-epochs of each.", lower_bound=1)


def ways(problem_name: str, optimizer: str, count: int) -> dict[str, Callable[[], float]]:
    """`{way: a meta-epoch}`; optimizers whose coordinates depend on each other have one way only."""
    problem, options = make_problem(problem_name), {"objective": objectives.total, "jit_compile": True}

    def meta_epoch(make_lesson):
        student = make_optimizer(optimizer)
        lesson, adam = make_lesson(student), keras.optimizers.Adam(1e-3)
        compiled = compile_meta_epoch(lesson, student.trainable_variables, adam, UNROLL_LENGTH)
        arguments = make_seed(0), tf.constant(0), tf.fill([WINDOWS], UNROLL_LENGTH)
        return lambda: float(compiled(*arguments).meta_loss.numpy())

    found = {"calls": meta_epoch(lambda student: mean_of(own_trajectory(problem, student, **options), count))}
    if make_optimizer(optimizer).coordinatewise:
        found["one step"] = meta_epoch(
            lambda student: own_trajectory(problem, student, meta_batch_size=count, **options)
        )
    return found


def measure(problem: str, optimizer: str, count: int, repetitions: int) -> dict[str, float]:
    """`{way: milliseconds per step and optimizee}`."""
    calls = ways(problem, optimizer, count)
    seconds = {way: [] for way in calls}
    for call in calls.values():
        call()
    for _ in range(repetitions):
        for way, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[way].append(time.perf_counter() - start)
    steps = UNROLL_LENGTH * WINDOWS * count
    return {way: 1e3 * statistics.median(times) / steps for way, times in seconds.items()}


def main() -> None:
    """Prints a table."""
    print(f"{'problem':12}{'K':>4}{'one step':>12}{'calls':>12}    ms per step and optimizee")
    for problem in _FLAGS.problem:
        for count in map(int, _FLAGS.count):
            found = measure(problem, _FLAGS.optimizer, count, _FLAGS.repetitions)
            cells = "".join(f"{found.get(way, float('nan')):12.3f}" for way in ("one step", "calls"))
            print(f"{problem:12}{count:4}{cells}", flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(lambda rest: console.guarded(main, rest))
