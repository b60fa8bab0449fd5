"""Peak memory of a meta-step over truncation and over coordinates: ours against plain automatic differentiation.

    python -m benchmarks.bench_memory
    python -m benchmarks.bench_memory --over=truncation --sizes=20,100,1000 --history=

`truncation`: one meta-step of L2O-DM on MLP-orig (`--problem`) over windows of so many steps. `coordinates`: one
meta-step over 20 steps on an optimizee of so many coordinates that itself costs next to nothing (benchmarks/bowl.py).
Every point is a process of its own, whose first meta-step it is: the numbers hold tracing, compilers and tensors
(benchmarks/worker.py). A process that takes more than --max_gib or --max_seconds is stopped, larger sizes of that
method are not run, and the table says what they would have taken in proportion to the last point that was measured.

One JSON line is appended to --history, and the last comparable run is shown beside this one. benchmarks/document.py
draws the plots from there.
"""

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import history
from benchmarks.bowl import PREFIX
from benchmarks.measure import Worker
from benchmarks.plan import Case, Settings
from l2o_tf.cli import console
from l2o_tf.saving import provenance

HERE = Path(__file__).parent
METHODS = ("ours-xla", "plain")
TRUNCATION = 20
SIZES = {"truncation": (20, 50, 100, 200, 500, 1000), "coordinates": (16_000, 100_000, 1_000_000, 10_000_000)}
FEW = {"truncation": (20, 1000), "coordinates": (16_000, 1_000_000)}
Row = dict[str, Any]

_FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this script; not on import, since others have some of the same names."""
    flags.DEFINE_list("over", list(SIZES), f"What to vary: {', '.join(SIZES)}.")
    flags.DEFINE_list("sizes", [], "Which sizes; default: " + ", ".join(f"{k}: {v}" for k, v in SIZES.items()))
    flags.DEFINE_list(
        "method", list(METHODS), "Methods of meta-training, see `python -m benchmarks.bench_unroll --list`."
    )
    flags.DEFINE_string("problem", "mnist", "Optimizee of `truncation`.")
    flags.DEFINE_string("optimizer", "L2O-DM", "Architecture.")
    flags.DEFINE_string("data", "auto", "Where images come from: 'auto', 'tfds', 'embedded'.")
    flags.DEFINE_boolean("few", False, f"Only {FEW}.")
    flags.DEFINE_float("max_seconds", 500, "A point that takes longer is stopped.")
    flags.DEFINE_float("max_gib", None, "A point that takes more is stopped; default: half of what is free.")
    flags.DEFINE_string(
        "history", str(HERE / "history.jsonl"), "File to append to and to compare with; empty: neither."
    )


def free_gib() -> float:
    """Memory that the system could give to a process, as Linux estimates it; 8 where it does not say."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    except OSError:
        return 8.0
    return int(lines["MemAvailable"].split()[0]) / 2**20


def series(
    over: str,
    method: str,
    sizes: Sequence[int],
    names: Mapping[str, str],
    measure: Callable[[Case, Settings], dict[str, Any]],
) -> list[Row]:
    """The rows of one method, from the smallest size to the largest.

    Args:
        over: a key of `SIZES`.
        method: of meta-training.
        sizes: what to run.
        names: `problem`, `optimizer`, `data`.
        measure: what a row gets, see `one_step`.
    """
    rows: list[Row] = []
    for size in sorted(sizes):
        problem, length = (names["problem"], size) if over == "truncation" else (f"{PREFIX}{size}", TRUNCATION)
        case, settings = Case(problem, names["optimizer"], "training", method), Settings(length, length, names["data"])
        row = {"over": over, "size": size, **case._asdict(), "unroll_length": length}
        print(f"{over} {size:,}: {method}", file=sys.stderr, flush=True)
        found = {"note": "not run"} if any("note" in row for row in rows) else measure(case, settings)
        last = next((row for row in reversed(rows) if "note" not in row), None)
        if "note" in found and last:
            guess = last["peak_mib"] * size / last["size"]
            found = {"note": f"{found['note']}; {guess / 2**10:.0f} GiB in proportion"}
        rows.append(row | found)
    return rows


def one_step(case: Case, settings: Settings, max_gib: float, max_seconds: float) -> dict[str, Any]:
    """What the first meta-step of a process took, or a `note` that says at which limit it was stopped."""
    done, stopped = threading.Event(), []

    def watch(worker: Worker) -> None:
        end = time.monotonic() + max_seconds
        while not done.wait(0.05):
            late = time.monotonic() > end
            if late or _resident_gib(worker.pid) > max_gib:
                stopped.append(f"stopped after {max_seconds:.0f} s" if late else f"stopped at {max_gib:.1f} GiB")
                worker.stop()
                return

    with Worker(case, settings) as worker:
        watcher = threading.Thread(target=watch, args=(worker,), daemon=True)
        watcher.start()
        try:
            return worker.start() | worker.memory()
        except RuntimeError:
            if not stopped:
                raise
            return {"note": stopped[0]}
        finally:
            done.set()
            watcher.join()


def _resident_gib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    except OSError:
        return 0.0


def table(rows: Sequence[Row], before: dict | None) -> str:
    """Text with a line per point; `before` is a run of the history."""
    old = {_key(row): row.get("peak_mib") for row in before["results"]} if before else {}
    lines = [f"{'over':12}{'size':>12}  {'method':10}{'peak MiB':>10}{'first call s':>14}{'before':>10}"]
    for row in rows:
        start = f"{row['over']:12}{row['size']:12,}  {row['method']:10}"
        earlier = old.get(_key(row))
        beside = f"{earlier:10,.0f}" if earlier else f"{'-':>10}"
        if "note" in row:
            lines.append(f"{start}  {row['note']}")
        else:
            lines.append(f"{start}{row['peak_mib']:10,.0f}{row['first_call_s']:14.1f}{beside}")
    return "\n".join(lines)


def _key(row: Row) -> tuple:
    return tuple(row.get(name) for name in ("over", "size", "optimizer", "method", "problem", "data"))


def main() -> None:
    """Measures, remembers and prints."""
    names = {name: _FLAGS[name].value for name in ("problem", "optimizer", "data")}
    path, rows, devices = Path(_FLAGS.history or "/dev/null"), [], set()
    earlier, made_by = history.read(path), provenance()
    limits = {"max_gib": _FLAGS.max_gib or free_gib() / 2, "max_seconds": _FLAGS.max_seconds}
    for over in _FLAGS.over:
        sizes = [int(size) for size in _FLAGS.sizes] or (FEW if _FLAGS.few else SIZES)[over]
        for method in _FLAGS.method:
            rows += series(over, method, sizes, names, functools.partial(one_step, **limits))
    for row in rows:
        devices.add(row.pop("device", "cpu"))
    arguments = {"benchmark": "memory", **names}
    run = history.make_run(made_by, history.machine(", ".join(sorted(devices))), arguments, None, rows)
    before = history.last_comparable([line for line in earlier if line["arguments"].get("benchmark") == "memory"], run)
    history.append(path, run)
    print(table(run["results"], before))


if __name__ == "__main__":
    define_flags()
    app.run(lambda rest: console.guarded(main, rest))
