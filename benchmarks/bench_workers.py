"""Measures how training scales over workers on this machine, and extrapolates to many machines.

    python -m benchmarks.bench_workers
    python -m benchmarks.bench_workers --problem=mnist --meta_batch_size=16 --count=1,2,4

Each worker is a process with one thread, so that more of them do not just use more of one processor's threads; a
machine needs as many idle cores as there are workers. It prints three tables: the time of a window with K optimizees
for several numbers of workers; the time of an all-reduce of φ; and a model of both for more machines than there are:

    window = (K / W) c + 2 (W - 1) h

c is the time of one optimizee's window on one worker, h that of one hop of the ring, along which the numbers go round
twice. h is mostly TensorFlow's own work and the latency of the network: 20 kB take 16 microseconds at 10 Gbit/s.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import job
from l2o_tf.cli import console
from l2o_tf.common.workers import Workers
from l2o_tf.recording.records import RECORDS, read_records

WINDOW, WINDOWS, EPOCHS, PARAMETERS, REDUCTIONS = 20, 10, 7, 5000, 300
THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
MODELLED = (1, 2, 4, 10, 30, 100, 300, 1000)


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command; its own processes get those of a worker, too."""
    flags.DEFINE_string("problem", "mnist", "Optimizee.", flag_values=values)
    flags.DEFINE_integer("meta_batch_size", 4, "K, optimizees per window.", lower_bound=1, flag_values=values)
    flags.DEFINE_list("count", ["1", "2", "4"], "W, numbers of workers, the first one 1.", flag_values=values)
    flags.DEFINE_integer("repetitions", 3, "Jobs of each kind; medians are shown.", lower_bound=1, flag_values=values)
    text = "h of the model, in microseconds. Default: as measured between two workers of this machine."
    flags.DEFINE_float("hop_us", None, text, lower_bound=0, flag_values=values)
    console.define_workers(values)


def time_all_reduce(workers: Workers) -> float:
    """Milliseconds of one all-reduce of `PARAMETERS` floats, of many in a compiled loop as in a meta-epoch."""

    @tf.function(autograph=False)
    def reduce_often(vector):
        _, total = tf.while_loop(lambda i, _: i < REDUCTIONS, lambda i, x: (i + 1, workers.agree(x)), (0, vector))
        return total

    vector = tf.zeros([PARAMETERS])
    reduce_often(vector)
    began = time.perf_counter()
    reduce_often(vector).numpy()
    return 1e3 * (time.perf_counter() - began) / REDUCTIONS


def all_reduce(count: int) -> float:
    """Milliseconds of an all-reduce among so many workers; none of a process alone."""
    if count == 1:
        return 0.0
    ended = job.run(["-m", "benchmarks.bench_workers"], count, THREADS)
    return float(max(json.loads(each.printed) for each in ended))


def window(problem: str, meta_batch_size: int, count: int) -> float:
    """Milliseconds of a window of a training with so many workers: the median of its meta-epochs but the first."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--problem={problem}", f"--meta_batch_size={meta_batch_size}", f"--unroll_length={WINDOW}"]
        options += [f"--num_steps={WINDOW * WINDOWS}", f"--num_epochs={EPOCHS}", f"--evaluation_period={EPOCHS}"]
        options += ["--num_runs_validation=1", f"--output_dir={folder}"]
        ended = job.run(["meta_train.py", *options], count, THREADS)
        if any(each.code for each in ended):
            raise ValueError(f"A worker has failed: {ended[0].said[-500:]}")
        speeds = [
            each["speed/steps_per_second"] for each in read_records(Path(folder, RECORDS)) if "curriculum/stage" in each
        ]
    return 1e3 * WINDOW / statistics.median(speeds[1:])


def table(head: list[str], rows: list[list]) -> str:
    """A table in Markdown."""
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def model(own: float, hop: float) -> list[list]:
    """Rows `[W, all-reduce, efficiency with one optimizee per worker, with 16]` from c and h, all in milliseconds."""
    rows = []
    for count in MODELLED:
        way = 2 * (count - 1) * hop
        shares = [f"{each * own / (each * own + way):.0%}" for each in (1, 16)]
        rows.append([f"{count:,}", f"{way:.2f}", *shares])
    return rows


def main(values: flags.FlagValues) -> int:
    """Prints the tables; or, as a worker of one of its jobs, what an all-reduce takes."""
    if values.workers:
        print(json.dumps(time_all_reduce(console.connected(values))))
        return 0
    counts, size = list(map(int, values.count)), values.meta_batch_size
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    for _ in range(values.repetitions):
        for count in counts:
            found[count].append((window(values.problem, size, count), all_reduce(count)))
    medians = {count: np.median(times, axis=0) for count, times in found.items()}
    alone = medians[1][0]
    print(f"{values.problem}, K = {size}, windows of {WINDOW} steps, workers of one thread on this machine\n")
    rows = [
        [count, f"{whole:.1f}", f"{alone / whole:.2f}", f"{alone / whole / count:.0%}", f"{way:.2f}"]
        for count, (whole, way) in medians.items()
    ]
    print(
        table(
            [
                "workers",
                "ms per window",
                "times as fast",
                "efficiency",
                f"all-reduce of {4 * PARAMETERS // 1000} kB, ms",
            ],
            rows,
        )
    )
    hop = all_reduce(2) / 2 if values.hop_us is None else values.hop_us / 1e3
    print(f"model: {alone / size:.1f} ms per optimizee and window, {1e3 * hop:.0f} microseconds per hop\n")
    head = ["workers", "all-reduce, ms", "efficiency, K = W", "efficiency, K = 16 W"]
    print(table(head, model(alone / size, hop)))
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
