"""Peak memory of a meta-step, over truncation and over coordinates: ours against plain automatic differentiation.

    python -m benchmarks.bench_memory
    python -m benchmarks.bench_memory --over=truncation --sizes=20,100,1000 --history=

`truncation`: one meta-step of L2O-DM on `--problem` over windows of so many steps. `coordinates`: one meta-step of 20
steps on an optimizee of so many coordinates that itself costs next to nothing (`benchmarks.cases.bowl`). Every point is
a process of its own, and its first meta-step: the numbers include tracing, compilers and tensors
(benchmarks/worker.py). A process that takes more than `--max_gib` or `--max_seconds` is stopped, and larger sizes of
that method are not run. The run is appended to `--history` as one JSON line. benchmarks/document.py draws the plots
from there.
"""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import Case, Settings, history
from benchmarks.bench_unroll import say
from benchmarks.worker import Worker
from l2o_tf.cli import console
from l2o_tf.saving import provenance

TRUNCATION = 20
SIZES = {"truncation": (20, 50, 100, 200, 500, 1000), "coordinates": (16_000, 100_000, 1_000_000, 10_000_000)}
FEW = {"truncation": (20, 1000), "coordinates": (16_000, 1_000_000)}
Row = dict[str, Any]


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_list("over", list(SIZES), f"What to vary: {', '.join(SIZES)}.", flag_values=values)
    flags.DEFINE_list("sizes", [], f"Which sizes; default: {SIZES}.", flag_values=values)
    flags.DEFINE_list("method", ["ours-xla", "plain"], "As of `benchmarks.bench_unroll`.", flag_values=values)
    flags.DEFINE_string("problem", "mnist", "Optimizee of `truncation`.", flag_values=values)
    flags.DEFINE_string("optimizer", "L2O-DM", "Architecture.", flag_values=values)
    flags.DEFINE_string("data", "auto", "Source of images: 'auto', 'tfds', 'embedded'.", flag_values=values)
    flags.DEFINE_boolean("few", False, f"Only {FEW}.", flag_values=values)
    flags.DEFINE_float("max_seconds", 500, "A point that takes longer is stopped.", flag_values=values)
    flags.DEFINE_float(
        "max_gib", None, "A point that takes more is stopped; default: half of what is free.", flag_values=values
    )
    history.define_flag(values)


def free_gib() -> float:
    """Memory that the system could give to a process, as Linux estimates it."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) / 2**20


def series(
    over: str, method: str, sizes: Sequence[int], names: Mapping[str, str], measure: Callable[[Case, Settings], Row]
) -> list[Row]:
    """The rows of one method, from the smallest size to the largest; `measure` as `one_step`."""
    rows: list[Row] = []
    for size in sorted(sizes):
        problem, length = (names["problem"], size) if over == "truncation" else (f"bowl:{size}", TRUNCATION)
        case, settings = Case(problem, names["optimizer"], "training", method), Settings(length, length, names["data"])
        say(f"{over} {size:,}: {method}")
        found = {"note": "not run"} if any("note" in row for row in rows) else measure(case, settings)
        rows.append({"over": over, "size": size, **case._asdict(), "unroll_length": length} | found)
    return rows


def one_step(case: Case, settings: Settings, max_gib: float, max_seconds: float) -> Row:
    """What the first meta-step of a process took, or a `note` that says at which limit it was stopped."""
    done, stopped = threading.Event(), []

    def watch(worker):
        end = time.monotonic() + max_seconds
        while not done.wait(0.05):
            late = time.monotonic() > end
            if late or _resident_gib(worker.process.pid) > max_gib:
                stopped.append(f"stopped after {max_seconds:.0f} s" if late else f"stopped at {max_gib:.1f} GiB")
                worker.process.kill()
                return

    with Worker(case, settings) as worker:
        watcher = threading.Thread(target=watch, args=(worker,), daemon=True)
        watcher.start()
        try:
            return worker.start()
        except RuntimeError:
            if not stopped:
                raise
            return {"note": stopped[0]}
        finally:
            done.set()
            watcher.join()


def _resident_gib(pid: int) -> float:
    with contextlib.suppress(OSError):  # it has ended
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    return 0.0


def table(rows: Sequence[Row]) -> str:
    """Text with a line per point."""
    lines = [f"{'over':12}{'size':>12}  {'method':10}{'peak MiB':>10}{'first call s':>14}"]
    for row in rows:
        numbers = f"  {row['note']}" if "note" in row else f"{row['peak_mib']:10,.0f}{row['first_call_s']:14.1f}"
        lines.append(f"{row['over']:12}{row['size']:12,}  {row['method']:10}{numbers}")
    return "\n".join(lines)


def main(values: flags.FlagValues) -> int:
    """Measures, remembers and prints."""
    names = {name: values[name].value for name in ("problem", "optimizer", "data")}
    made_by, rows = provenance(), []
    limits = {"max_gib": values.max_gib or free_gib() / 2, "max_seconds": values.max_seconds}
    for over in values.over:
        sizes = [int(size) for size in values.sizes] or (FEW if values.few else SIZES)[over]
        for method in values.method:
            rows += series(over, method, sizes, names, functools.partial(one_step, **limits))
    print(table(history.append(values.history, made_by, {"benchmark": "memory", **names}, None, rows)["results"]))
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
