"""Milliseconds per optimizee step, time of the first call and memory, of meta-training and of evaluation.

    python -m benchmarks.bench_unroll
    python -m benchmarks.bench_unroll --problem=mnist,mnist_deeper --phase=training --repetitions=30

Meta-training is a meta-epoch of `num_steps` steps as meta_train.py compiles it: draw an optimizee, then run windows of
`unroll_length` steps, each with its minibatches, its meta-gradient and the update of φ. Evaluation is one run of
`num_steps` steps in a single window. The methods, of which those with `-xla` are compiled by XLA:

    floor               the matrix products and transcendental functions of a step (benchmarks/floor.py), each by the
                        fastest of NumPy, TensorFlow and XLA, which its row names
    plain, plain-xla    automatic differentiation of the same unroll; in evaluation a loop over loss, gradient, update
    ours, ours-xla      what meta_train.py and evaluate.py run
    second, second-xla  the same with --meta_gradient=whole_run; meta-training only
    sampled4-xla        the same with a meta-gradient from a quarter of the coordinates, `Sampled(1/4)`; meta-training
    sampled8-xla        from an eighth; both for optimizers that treat coordinates one by one
    adam, adam-xla      what evaluate.py runs with Adam: the cost of a step without a network; evaluation only
    jax                 L2O-DM on a perceptron as a scan written by hand in JAX (benchmarks/peers/jax_scan.py)

Every method has a process of its own. The methods of one problem, optimizer and phase take turns, so that all see the
same machine. Columns: median and minimum over the repetitions; `x plain` and `x floor`, the median ratios to the
methods of those names in the same round (`x plain` below 1: faster); the first call, which traces, compiles and runs
once; memory (benchmarks/worker.py says of what). The run is appended to `--history` as one JSON line. Use an idle
machine; the load before the run is recorded.

Nothing can be faster than a floor. If a median ratio to it is below 0.98, the floor is wrong: the command prints the
table, names the row, appends nothing, and its exit code is 1. Adam and sampled meta-gradients do less work than the
floor has, and get no ratio to it.
"""

import contextlib
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from benchmarks import Case, Settings, history, peers
from benchmarks.floor import CELLS
from benchmarks.worker import Worker, interpreter
from l2o_tf.cli import console
from l2o_tf.common import names

METHODS = {
    "training": (
        *("floor", "plain", "plain-xla", "ours", "ours-xla", "second", "second-xla", "sampled4-xla", "sampled8-xla"),
        "jax",
    ),
    "evaluation": ("floor", "plain", "plain-xla", "ours", "ours-xla", "adam", "adam-xla", "jax"),
}
"""Phase -> its methods."""
LESS_WORK = ("adam", "sampled4", "sampled8")
"""Methods that do less than the floor has, without `-xla`."""
COORDINATEWISE = ("L2O-DM", "RNNprop")
"""Optimizers of which a meta-gradient can be sampled."""
TOLERANCE = 0.02
"""By how much a median ratio to the floor may be below 1: the noise of an idle machine."""
DEFAULT_METHODS = ["floor", "plain", "ours-xla", "adam-xla", "jax"]
COLUMNS = {
    "problem": "problem",
    "optimizer": "optimizer",
    "phase": "phase",
    "method": "method",
    "ms_median": "ms/step",
    "ms_min": "minimum",
    "ratio": "x plain",
    "floor_ratio": "x floor",
    "first_call_s": "first call s",
    "peak_mib": "peak MiB",
    "note": "",
}
"""Key of a row -> heading."""


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_list("problem", ["mnist"], "Optimizees; see `python -m problems --list`.", flag_values=values)
    flags.DEFINE_list("optimizer", list(CELLS), "Architectures, with untrained weights.", flag_values=values)
    flags.DEFINE_list("phase", list(METHODS), "What to measure: training, evaluation.", flag_values=values)
    flags.DEFINE_list("method", DEFAULT_METHODS, "Methods to compare.", flag_values=values)
    flags.DEFINE_integer("num_steps", 100, "Steps per repetition.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("unroll_length", 20, "Steps per window of training.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("repetitions", 7, "Timed repetitions per method.", lower_bound=1, flag_values=values)
    flags.DEFINE_string("data", "auto", "Source of images: 'auto', 'tfds', 'embedded'.", flag_values=values)
    history.define_flag(values)


def make_groups(asked: dict[str, Sequence[str]]) -> list[list[Case]]:
    """The cases, in groups that do the same work; without methods that a phase, problem or optimizer does not have."""
    known = {"phase": list(METHODS), "method": list(dict.fromkeys(sum(METHODS.values(), ())))}
    for what, expected in known.items():
        for name in asked[what]:
            if name not in expected:
                hint = names.hint(name, expected)
                raise ValueError(f"Received --{what}={name}, expected some of {', '.join(expected)}.{hint}")
    groups = [
        [Case(problem, optimizer, phase, method) for method in METHODS[phase] if method in asked["method"]]
        for problem in dict.fromkeys(asked["problem"])
        for optimizer in dict.fromkeys(asked["optimizer"])
        for phase in dict.fromkeys(asked["phase"])
    ]
    groups = [found for group in groups if (found := [case for case in group if exists(case)])]
    if not groups:
        raise ValueError("Received options that leave nothing to measure; drop --method or --phase.")
    return groups


def exists(case: Case) -> bool:
    """Whether there is such a method for that problem and optimizer."""
    if case.method == "jax":
        return case.problem in peers.PERCEPTRONS and case.optimizer == "L2O-DM"
    if case.method.startswith("sampled"):
        return case.optimizer in COORDINATEWISE
    return case.method != "floor" or case.optimizer in CELLS


def measure(cases: Sequence[Case], settings: Settings, repetitions: int) -> list[dict[str, Any]]:
    """Measures the cases of one group: `repetitions` rounds, after one that is not counted.

    A row has the case's names, what its worker answers, and what `summarize` makes of the seconds. The row of a case
    that cannot run here has the names and a `note` that says why.
    """
    absent = [case._asdict() | {"note": peers.MISSING} for case in cases if not interpreter(case)]
    cases = [case for case in cases if interpreter(case)]
    if not cases:
        return absent
    with contextlib.ExitStack() as stack:
        workers, facts = [], []
        for case in cases:  # one after the other, so that a first call has the machine to itself
            say(f"{' / '.join(case)}: loading and compiling")
            workers.append(stack.enter_context(Worker(case, settings)))
            facts.append(workers[-1].start())
        say(f"{' / '.join(cases[0][:3])}: {repetitions} rounds of {', '.join(case.method for case in cases)}")
        for worker in workers:
            worker.run()
        seconds, memory = [[] for _ in cases], [{} for _ in cases]
        for repetition in range(repetitions):
            for place in range(len(cases)):  # each round begins with the next case, so that none has a fixed place
                turn = (repetition + place) % len(cases)
                answer = workers[turn].run()
                seconds[turn].append(answer["seconds"])
                memory[turn] = {"peak_mib": answer["peak_mib"]}
    timing = summarize([case.method for case in cases], seconds, settings.num_steps)
    return [case._asdict() | t | f | m for case, t, f, m in zip(cases, timing, facts, memory, strict=True)] + absent


def summarize(methods: Sequence[str], seconds: Sequence[Sequence[float]], num_steps: int) -> list[dict[str, Any]]:
    """Per method, of `seconds [method][round]`: `ms_median` and `ms_min` per step, `ratio` to plain, `floor_ratio`.

    A ratio is the median over the rounds of the time divided by the other method's time in the same round; None where
    that method was not measured, and to the floor also for `LESS_WORK`.
    """

    def ratio(times, reference):
        if reference not in methods:
            return None
        return statistics.median(t / r for t, r in zip(times, seconds[methods.index(reference)], strict=True))

    return [
        {
            "ms_median": 1e3 * statistics.median(times) / num_steps,
            "ms_min": 1e3 * min(times) / num_steps,
            "ratio": ratio(times, "plain"),
            "floor_ratio": None if method.removesuffix("-xla") in LESS_WORK else ratio(times, "floor"),
        }
        for method, times in zip(methods, seconds, strict=True)
    ]


def below_floor(results: Sequence[dict[str, Any]]) -> list[str]:
    """A message for each row that beats its floor."""
    return [
        f"{' / '.join(row[name] for name in Case._fields)} takes {row['floor_ratio']:.2f} of its floor. A floor is a "
        "lower bound: repeat this on an idle machine; if it stays, benchmarks/floor.py counts work that is not needed, "
        "or benchmarks/kernels.py lacks the fastest way to do it."
        for row in results
        if (row.get("floor_ratio") or 1.0) < 1.0 - TOLERANCE
    ]


def table(run: history.Run) -> str:
    """A run as aligned text."""
    rows = [COLUMNS, *({column: _text(row.get(column)) for column in COLUMNS} for row in run["results"])]
    widths = {column: max(len(row[column]) for row in rows) for column in COLUMNS}
    left = ("problem", "optimizer", "phase", "method", "note")
    pad = {column: str.ljust if column in left else str.rjust for column in COLUMNS}
    lines = ["  ".join(pad[name](row[name], width) for name, width in widths.items()).rstrip() for row in rows]
    asked = ", ".join(f"{name} {run['arguments'][name]}" for name in ("num_steps", "unroll_length", "repetitions"))
    data = sorted({f"{row['problem']}: {row['data']}" for row in run["results"] if row.get("data")})
    return "\n".join([asked, *data, history.source(run), "", *lines])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return "" if value is None else str(value)


def say(message: str) -> None:
    """Progress, on standard error."""
    print(message, file=sys.stderr, flush=True)


def main(values: flags.FlagValues) -> int:
    """Measures everything that was asked for, appends it to the history, and prints the table."""
    options = ("problem", "optimizer", "phase", "method", "num_steps", "unroll_length", "repetitions", "data")
    asked = {name: values[name].value for name in options}
    steps, length = asked["num_steps"], asked["unroll_length"]
    if steps % length:
        raise ValueError(f"Received --num_steps={steps}, expected a multiple of --unroll_length={length}.")
    groups = make_groups(asked)
    console.import_tensorflow()  # only now: a mistake is told at once
    from l2o_tf.saving import provenance

    made_by, load = provenance(), round(os.getloadavg()[0], 2)
    if load > 0.5:
        say(f"WARNING: the machine is not idle (load {load}); times will be too long and uneven.")
    settings = Settings(steps, length, asked["data"])
    results = [row for group in groups for row in measure(group, settings, asked["repetitions"])]
    wrong = below_floor(results)
    print(table(history.append("" if wrong else values.history, made_by, asked, load, results)))
    for message in wrong:
        say(f"ERROR: {message}")
    return 1 if wrong else 0


if __name__ == "__main__":
    console.run(define_flags, main)
