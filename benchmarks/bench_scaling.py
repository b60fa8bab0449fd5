"""Milliseconds per step and optimizee of K optimizees at the same time: in one compiled step, or a call for each.

    python -m benchmarks.bench_scaling
    python -m benchmarks.bench_scaling --problem=quadratic,digits --count=1,2,4,8 --optimizer=L2O-Scale

Meta-epochs of three windows of 20 steps, as meta_train.py compiles them, in one process. Both ways take turns; the
numbers are medians. `--meta_batch_size` of meta_train.py uses a call for each on a processor, and one step on a GPU.
An optimizer whose coordinates depend on each other has only the first way.
"""

import statistics
import time
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import flags

from l2o_tf.cli import console
from l2o_tf.common.workers import Share
from l2o_tf.optimizers import make_optimizer
from l2o_tf.training.lessons.lesson import Setting, in_turn
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.meta_epoch import compile_meta_epoch
from l2o_tf.unrolling import batch
from l2o_tf.unrolling.meta_gradients import FirstOrder
from problems import make_problem
from problems.base import make_seed

UNROLL_LENGTH, WINDOWS = 20, 3


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_list("problem", ["mnist", "digits", "quadratic"], "Optimizees.", flag_values=values)
    flags.DEFINE_string("optimizer", "L2O-DM", "Architecture.", flag_values=values)
    flags.DEFINE_list("count", ["1", "2", "4", "8"], "K, numbers of optimizees.", flag_values=values)
    flags.DEFINE_integer("repetitions", 5, "Timed meta-epochs of each.", lower_bound=1, flag_values=values)


def ways(problem_name: str, optimizer: str, count: int) -> dict[str, Callable[[], float]]:
    """`{way: a meta-epoch}`."""
    problem = make_problem(problem_name)

    def meta_epoch(make_lesson):
        student = make_optimizer(optimizer)
        lesson, adam = make_lesson(student), keras.optimizers.Adam(1e-3)
        compiled = compile_meta_epoch(lesson, student.trainable_variables, adam, UNROLL_LENGTH)
        arguments = make_seed(0), tf.constant(0), tf.fill([WINDOWS], UNROLL_LENGTH)
        return lambda: float(compiled(*arguments).meta_loss.numpy())

    def lesson(student, optimizees):
        return OwnTrajectory().lesson(Setting(problem, student, FirstOrder()), optimizees)

    found = {
        "calls": meta_epoch(lambda student: in_turn(lesson(student, batch.Optimizees(problem)), Share().part(count)))
    }
    if make_optimizer(optimizer).coordinatewise:
        found["one step"] = meta_epoch(lambda student: lesson(student, batch.Optimizees(problem, count, student)))
    return found


def medians(calls: dict[str, Callable[[], float]], repetitions: int) -> dict[str, float]:
    """Median milliseconds of each call. They take turns, after one call each that compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(times[1:]) for name, times in seconds.items()}


def main(values: flags.FlagValues) -> int:
    """Prints a table."""
    print(f"{'problem':12}{'K':>4}{'one step':>12}{'calls':>12}    ms per step and optimizee")
    for problem in values.problem:
        for count in map(int, values.count):
            found = medians(ways(problem, values.optimizer, count), values.repetitions)
            steps = UNROLL_LENGTH * WINDOWS * count
            cells = "".join(f"{found.get(way, float('nan')) / steps:12.3f}" for way in ("one step", "calls"))
            print(f"{problem:12}{count:4}{cells}", flush=True)
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
