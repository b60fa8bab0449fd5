"""One JSON line per run, and how a run compares with the last one like it.

Runs are comparable if machine and settings are the same: processor, number of cores, accelerator, `num_steps` and
`unroll_length`. Rows are the same if problem, optimizer, phase, method and data are. Commits and versions are what is
being compared, so they may differ; the table's heading says which they were.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import floor

Run = dict[str, Any]

_DIGITS = {"ms_median": 4, "ms_min": 4, "ratio": 4, "floor_ratio": 4, "first_call_s": 3, "peak_mib": 1}
_ROW = ("problem", "optimizer", "phase", "method", "data")
_LEFT = (*_ROW, "note")
_SETTINGS = ("num_steps", "unroll_length")

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
    "before": "before",
    "change": "change",
    "note": "",
}
"""Key of a row -> heading."""


def machine(device: str) -> dict[str, Any]:
    """Processor, cores that this process may use, and accelerator (or `"cpu"`)."""
    return {"cpu": _processor(), "cores": floor.threads(), "device": device}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def make_run(
    provenance: Mapping[str, Any],
    machine: Mapping[str, Any],
    arguments: Mapping[str, Any],
    load: float | None,
    results: Sequence[Mapping[str, Any]],
) -> Run:
    """What goes into a line of the history; numbers are rounded to what they are worth.

    Args:
        provenance: date, commit, dirty, versions.
        machine: see `machine`.
        arguments: of the command.
        load: average load of the machine before the run, None where unknown. Much above 0 means that it was not idle.
        results: one per case.
    """
    rounded = [{key: _rounded(key, value) for key, value in row.items()} for row in results]
    return {**provenance, "machine": dict(machine), "load": load, "arguments": dict(arguments), "results": rounded}


def _rounded(key: str, value: Any) -> Any:
    return value if value is None or key not in _DIGITS else round(value, _DIGITS[key])


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


def append(path: Path, run: Run) -> None:
    """Adds a line."""
    with path.open("a") as file:
        file.write(json.dumps(run) + "\n")


def last_comparable(history: Sequence[Run], run: Run) -> Run | None:
    """The newest run of the same machine and settings that shares a row with `run`."""
    rows = {_key(row) for row in run["results"]}
    for other in reversed(history):
        same_settings = all(other["arguments"].get(name) == run["arguments"].get(name) for name in _SETTINGS)
        if other["machine"] == run["machine"] and same_settings and rows & {_key(row) for row in other["results"]}:
            return other
    return None


def _key(row: Mapping[str, Any]) -> tuple:
    return tuple(row.get(name) for name in _ROW)


def table(run: Run, before: Run | None) -> str:
    """`run` as aligned text, with the median of `before` and its change beside each row that both have."""
    medians = {_key(row): row.get("ms_median") for row in before["results"]} if before else {}
    rows = [dict(COLUMNS)]
    for row in run["results"]:
        old, new = medians.get(_key(row)), row.get("ms_median")
        change = f"{100 * (new / old - 1):+.1f} %" if old and new else None
        shown = {**dict.fromkeys(COLUMNS), "note": "", **row, "before": old, "change": change}
        rows.append({key: _text(value) for key, value in shown.items()})
    widths = {key: max(len(row[key]) for row in rows) for key in COLUMNS}
    lines = ["  ".join(_pad(row[key], key, width) for key, width in widths.items()).rstrip() for row in rows]
    groups = [_key(row)[:3] for row in run["results"]]
    for place in reversed([i for i in range(1, len(groups)) if groups[i] != groups[i - 1]]):
        lines.insert(place + 1, "")
    return "\n".join([*_heading(run, before), "", *lines])


def _heading(run: Run, before: Run | None) -> list[str]:
    where = run["machine"]
    arguments = ", ".join(f"{name} {run['arguments'][name]}" for name in (*_SETTINGS, "repetitions"))
    data = sorted({f"{row['problem']}: {row['data']}" for row in run["results"] if row.get("data")})
    lines = [
        f"{where['cpu']}, {where['cores']} cores, {where['device']}; {arguments}",
        *data,
        f"this run: {_name(run)}",
    ]
    return [*lines, f"before:   {_name(before)}" if before else "before:   no comparable run in the history"]


def _name(run: Run) -> str:
    """`2025-01-31T12:00:00+00:00, commit 0123456789 (dirty), tensorflow 2.21.0, ...`"""
    commit = (run["commit"] or "unknown")[:10] + (" (dirty)" if run["dirty"] else "")
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return f"{run['date']}, commit {commit}, {versions}"


def _pad(text: str, key: str, width: int) -> str:
    return text.ljust(width) if key in _LEFT else text.rjust(width)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return "-" if value is None else str(value)
