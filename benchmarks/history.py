"""benchmarks/history.jsonl: one JSON line per run, with all that a run depends on."""

import contextlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import floor

Run = dict[str, Any]

HISTORY = Path(__file__).with_name("history.jsonl")
_DIGITS = {"ms_median": 4, "ms_min": 4, "ratio": 4, "floor_ratio": 4, "first_call_s": 3, "peak_mib": 1}


def define_flag(values: flags.FlagValues) -> None:
    """`--history`."""
    flags.DEFINE_string("history", str(HISTORY), "File to append the run to; empty: none.", flag_values=values)


def append(
    path: str,
    provenance: Mapping[str, Any],
    arguments: Mapping[str, Any],
    load: float | None,
    results: Sequence[Mapping[str, Any]],
) -> Run:
    """Adds a run, with its numbers rounded, and returns it.

    Args:
        path: the history; empty: nothing is written.
        provenance: date, commit, dirty, versions.
        arguments: of the command. `"benchmark"` names its kind, if it is not `bench_unroll`.
        load: average load of the machine before the run, None where unknown. Much above 0 means that it was not idle.
        results: a row per case; `"device"` is taken out of them, and is a part of the machine.
    """
    devices = sorted({row["device"] for row in results if "device" in row}) or ["cpu"]
    machine = {"cpu": processor(), "cores": floor.threads(), "device": ", ".join(devices)}
    rows = [{key: _rounded(key, value) for key, value in row.items() if key != "device"} for row in results]
    run = {**provenance, "machine": machine, "load": load, "arguments": dict(arguments), "results": rows}
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(run) + "\n")
    return run


def processor() -> str:
    """Name of the processor."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def _rounded(key: str, value: Any) -> Any:
    return value if value is None or key not in _DIGITS else round(value, _DIGITS[key])


def source(run: Run) -> str:
    """Where, when and by what a run was made."""
    machine = run["machine"]
    cores = f"{machine['cores']} cores" if "cores" in machine else None
    where = ", ".join(filter(None, [machine.get("cpu"), cores, machine["device"]]))
    versions = ", ".join(f"{name} {run['versions'][name]}" for name in ("tensorflow", "jax") if name in run["versions"])
    commit = (run["commit"] or "unknown")[:10] + (" with changes" if run.get("dirty") else "")
    load = "" if run.get("load") is None else f" Load before the run: {run['load']}."
    return f"{where}; {versions}; commit {commit}, {run['date'][:10]}.{load}"
