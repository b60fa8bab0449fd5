"""Milliseconds per optimizee step, time of the first call and memory: of meta-training and of evaluation.

    python -m benchmarks.bench_unroll
    python -m benchmarks.bench_unroll --problem=mnist,mnist_deeper --phase=training --repetitions=30

Measured side by side, per problem and optimizer: this project's unroll with and without XLA and with second
derivatives, against plain automatic differentiation of the same model, a scan written by hand in JAX, and the floor:
the matrix products and transcendental functions that no program can do without, by NumPy (benchmarks/floor.py).
`--list` says what each method is. Meant for an idle machine; the load before the run is recorded.

Columns: median and minimum over the repetitions; `x plain` and `x floor`, the median ratios to the methods of those
names in the same round (`x plain` below 1: faster); the first call, which traces, compiles and runs once; memory
(`benchmarks/worker.py` says of what); and the median of the last comparable run in `--history`, with the change since.
One JSON line is appended there.

Meta-training is a meta-epoch of `num_steps` steps as meta_train.py compiles it: draw an optimizee, then windows of
`unroll_length` steps, each with its minibatches, its meta-gradient and the update of φ. Evaluation is one run of
`num_steps` steps, a single window.
"""

import os
import sys
from pathlib import Path

from absl import app, flags

from benchmarks import history, plan
from benchmarks.floor import CELLS
from benchmarks.measure import measure
from l2o_tf.saving import provenance

HISTORY = Path(__file__).with_name("history.jsonl")
QUICK = {"num_steps": 4, "unroll_length": 2, "repetitions": 2, "data": "embedded", "history": ""}

_FLAGS = flags.FLAGS
flags.DEFINE_list("problem", ["mnist"], "Optimizees; see `python -m problems --list`.")
flags.DEFINE_list("optimizer", list(CELLS), "Architectures of learned optimizers, with untrained weights.")
flags.DEFINE_list("phase", list(plan.METHODS), "What to measure: training, evaluation.")
flags.DEFINE_list("method", ["floor", "plain", "ours-xla", "adam-xla", "jax"], "Methods to compare, see --list.")
flags.DEFINE_integer("num_steps", 100, "Steps per repetition.")
flags.DEFINE_integer("unroll_length", 20, "Steps per window of meta-training.")
flags.DEFINE_integer("repetitions", 7, "Timed repetitions per method.")
flags.DEFINE_string("data", "auto", "Where images come from: 'auto', 'tfds', 'embedded'.")
flags.DEFINE_string("data_dir", None, "TFDS directory; default: $TFDS_DATA_DIR, then TFDS's own default.")
flags.DEFINE_string("history", str(HISTORY), "File to append to and to compare with; empty: neither.")
flags.DEFINE_boolean("quick", False, f"Only see that it works: {', '.join(f'{k}={v!r}' for k, v in QUICK.items())}.")
flags.DEFINE_boolean("list", False, "Say what the methods are, and measure nothing.")


def arguments(values: flags.FlagValues) -> dict:
    """Values of the flags by name; `--quick` replaces those that were not given."""
    names = ("problem", "optimizer", "phase", "method", "num_steps", "unroll_length", "repetitions")
    found = {name: values[name].value for name in (*names, "data", "data_dir", "history")}
    if values.quick:
        found |= {name: value for name, value in QUICK.items() if not values[name].present}
    return found


def bench(given: dict) -> str:
    """Measures everything that was asked for, appends to the history, and returns the table.

    Raises:
        ValueError: on arguments that cannot be measured, or a damaged history.
    """
    plan.check_sizes(given["num_steps"], given["unroll_length"], given["repetitions"])
    groups = plan.groups(given["problem"], given["optimizer"], given["phase"], given["method"])
    settings = plan.Settings(given["num_steps"], given["unroll_length"], given["data"], given["data_dir"])
    path = Path(given["history"] or os.devnull)
    earlier, made_by, load = history.read(path), provenance(), _load()
    results = []
    for group in groups:
        results += measure(group, settings, given["repetitions"], on_progress=_say)
    devices = {row.pop("device") for row in results}
    asked = {name: value for name, value in given.items() if name not in ("data_dir", "history")}
    run = history.make_run(made_by, history.machine(", ".join(sorted(devices))), asked, load, results)
    history.append(path, run)
    return history.table(run, history.last_comparable(earlier, run))


def _load() -> float | None:
    """Average load of the last minute; a warning if others are at work, since times are then of no use."""
    if not hasattr(os, "getloadavg"):
        return None
    load = os.getloadavg()[0]
    if load > 0.5:
        _say(f"WARNING: the machine is not idle (load {load:.1f}); times will be too long and uneven.")
    return round(load, 2)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def describe() -> str:
    """The methods of every phase."""
    lines = []
    for phase, methods in plan.METHODS.items():
        lines += [f"{phase}:", *(f"  {name:<12}{text}" for name, text in methods.items())]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Turns flags into a benchmark, and errors of the user into exit code 2."""
    try:
        if len(argv) > 1:
            raise ValueError(f"Received unknown arguments {argv[1:]}; options begin with --, see --help.")
        print(describe() if _FLAGS.list else bench(arguments(_FLAGS)))
        return 0
    except (ValueError, OSError) as error:
        print(f"bench_unroll: {error}", file=sys.stderr)
        return 2


def _parse(argv: list[str]) -> list[str]:
    try:
        return _FLAGS(argv)
    except flags.Error as error:
        print(f"bench_unroll: {error}. See --help.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
