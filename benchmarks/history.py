"""benchmarks/history.jsonl: one JSON line per run, and which earlier run another can be compared with.

Runs are comparable if machine, `num_steps`, `unroll_length` and kind of benchmark are the same. Commits and versions
may differ: they are what is compared.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import floor

Run = dict[str, Any]

HISTORY = Path(__file__).with_name("history.jsonl")
SETTINGS = ("num_steps", "unroll_length")
_DIGITS = {"ms_median": 4, "ms_min": 4, "ratio": 4, "floor_ratio": 4, "first_call_s": 3, "peak_mib": 1}


def define_flag(values: flags.FlagValues) -> None:
    """`--history`."""
    text = "File to append the run to and to compare it with; empty: neither."
    flags.DEFINE_string("history", str(HISTORY), text, flag_values=values)


def read(path: Path) -> list[Run]:
    """The lines of a history, oldest first; none if there is no file.

    Raises:
        ValueError: if a line is not JSON.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    runs = []
    for number, line in enumerate(lines, start=1):
        try:
            runs.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"Received {path} with a damaged line {number} ({error}). Delete that line.") from error
    return runs


def append(
    path: Path,
    provenance: Mapping[str, Any],
    arguments: Mapping[str, Any],
    load: float | None,
    results: Sequence[Mapping[str, Any]],
) -> Run:
    """Adds a run, with its numbers rounded, and returns it.

    Args:
        path: the history.
        provenance: date, commit, dirty, versions.
        arguments: of the command. `"benchmark"` names its kind, if it is not `bench_unroll`.
        load: average load of the machine before the run, None where unknown. Much above 0 means that it was not idle.
        results: a row per case; `"device"` is taken out of them, and is a part of the machine.
    """
    devices = sorted({row["device"] for row in results if "device" in row}) or ["cpu"]
    machine = {"cpu": processor(), "cores": floor.threads(), "device": ", ".join(devices)}
    rows = [{key: _rounded(key, value) for key, value in row.items() if key != "device"} for row in results]
    run = {**provenance, "machine": machine, "load": load, "arguments": dict(arguments), "results": rows}
    with path.open("a") as file:
        file.write(json.dumps(run) + "\n")
    return run


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _rounded(key: str, value: Any) -> Any:
    return value if value is None or key not in _DIGITS else round(value, _DIGITS[key])


def last_comparable(history: Sequence[Run], run: Run) -> Run | None:
    """The newest comparable run that shares a row with `run`."""

    def circumstances(of):
        return of["machine"], [of["arguments"].get(name) for name in ("benchmark", *SETTINGS)]

    rows = {key(row) for row in run["results"]}
    for other in reversed(history):
        if circumstances(other) == circumstances(run) and rows & {key(row) for row in other["results"]}:
            return other
    return None


def key(row: Mapping[str, Any]) -> tuple:
    """What a row measures."""
    names = ("problem", "optimizer", "phase", "method", "data", "over", "size")
    return tuple(row.get(name) for name in names)


def source(run: Run) -> str:
    """Where, when and by what a run was made."""
    machine = run["machine"]
    cores = f"{machine['cores']} cores" if "cores" in machine else None
    where = ", ".join(filter(None, [machine.get("cpu"), cores, machine["device"]]))
    versions = ", ".join(f"{name} {run['versions'][name]}" for name in ("tensorflow", "jax") if name in run["versions"])
    commit = (run["commit"] or "unknown")[:10] + (" with changes" if run.get("dirty") else "")
    load = "" if run.get("load") is None else f" Load before the run: {run['load']}."
    return f"{where}; {versions}; commit {commit}, {run['date'][:10]}.{load}"
