"""Writes the tables of docs/performance.md and draws its pictures, from the newest lines of benchmarks/history.jsonl.

python -m benchmarks.document
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import history, memory_plot
from l2o_tf.cli import console

ROOT = Path(__file__).resolve().parents[1]
Run = dict[str, Any]
Row = dict[str, Any]
MEMORY_KEYS = ("over", "method", "size")

_FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this script; not on import, since others have some of the same names."""
    flags.DEFINE_string("history", str(ROOT / "benchmarks" / "history.jsonl"), "Where the numbers are.")
    flags.DEFINE_string("document", str(ROOT / "docs" / "performance.md"), "What is written.")


def markers(name: str) -> tuple[str, str]:
    """Lines between which a table stands."""
    return f"<!-- {name}: python -m benchmarks.document -->", f"<!-- end of {name} -->"


def source(run: Run) -> str:
    """By what and where a run was made."""
    where = run["machine"]
    parts = [where.get("cpu"), f"{where['cores']} cores" if "cores" in where else None, where["device"]]
    versions = ", ".join(f"{name} {run['versions'][name]}" for name in ("tensorflow", "jax") if name in run["versions"])
    commit = (run["commit"] or "unknown")[:10] + (" with changes" if run.get("dirty") else "")
    load = "" if run.get("load") is None else f" Load before the run: {run['load']}."
    return f"{', '.join(filter(None, parts))}; {versions}; commit {commit}, {run['date'][:10]}.{load}"


def grid(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A Markdown table; numbers are on the right."""
    lines = [f"| {' | '.join(heading)} |", "|" + "".join("---|" if i < 4 else "---:|" for i in range(len(heading)))]
    return lines + [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"
    return "" if value is None else str(value)


def newest(runs: Sequence[Run], keys: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Of every row the newest, by these keys and in the order of their first appearance; and where they are from."""
    found = {tuple(row.get(key) for key in keys): (row, run) for run in runs for row in run["results"]}
    return [row for row, _ in found.values()], list(dict.fromkeys(source(run) for _, run in found.values()))


def speed(runs: Sequence[Run]) -> list[str]:
    """Meta-training and evaluation."""
    keys = ("problem", "optimizer", "phase", "method", "ms_median", "floor_ratio", "ratio", "first_call_s", "peak_mib")
    heading = (*keys[:4], "ms/step", "x floor", "x plain", "first call s", "peak MiB")
    rows, sources = newest(runs, keys[:4])
    cells = [
        [row.get("note") if key == "ms_median" and "note" in row else row.get(key) for key in keys] for row in rows
    ]
    return [*grid(heading, cells), "", *sources]


def memory(runs: Sequence[Run]) -> list[str]:
    """Peak memory of a meta-step; of each size the newest run that has it."""
    rows, sources = newest(runs, MEMORY_KEYS)
    heading = ("over", "size", "method", "optimizer", "peak MiB", "first call s")
    cells = [
        (
            row["over"],
            f"{row['size']:,}",
            memory_plot.NAMES.get(row["method"], row["method"]),
            row["optimizer"],
            row.get("note") or row["peak_mib"],
            row.get("first_call_s"),
        )
        for row in sorted(rows, key=lambda row: (row["over"], row["method"], row["size"]))
    ]
    return [*grid(heading, cells), "", *sources]


def profile(runs: Sequence[Run]) -> list[str]:
    """What a meta-step is made of, of each problem and optimizer the newest run."""
    lines = []
    for run in {(run["arguments"]["problem"], run["arguments"]["optimizer"]): run for run in runs}.values():
        lines += [*_profile(run), ""]
    return lines[:-1]


def _profile(run: Run) -> list[str]:
    wall, asked = run["arguments"]["ms"], run["arguments"]
    rows = [
        (row["where"], row["kind"], row.get("name"), row.get("what"), row["ms"], f"{100 * row['ms'] / wall:.1f} %")
        for row in run["results"]
    ]
    heading = ("where", "kind", "instruction", "what", "ms/step", "share")
    parts = [[row for row in rows if bool(row[2]) == single] for single in (False, True)]
    text = "{optimizer} on {problem}, {ms:.2f} ms per step, {unroll_length} steps per window.".format(**asked)
    slices = grid(("where", "kind", "ms/step", "share"), [(*row[:2], *row[4:]) for row in parts[0]])
    return [text, "", *slices, "", "The longest instructions:", "", *grid(heading, parts[1]), "", source(run)]


def hlo(runs: Sequence[Run]) -> list[str]:
    """The exported program, of each device the newest run."""
    lines = []
    for run in {run["machine"]["device"]: run for run in runs}.values():
        heading = ("problem", "optimizer", "phase", "method", "K", "ms/step", "x floor")
        cells = [
            [*(row[key] for key in heading[:4]), row.get("meta_batch_size", 1), row["ms"], row["ratio"]]
            for row in run["results"]
        ]
        lines += [*grid(heading, cells), "", source(run), ""]
    return lines[:-1]


SECTIONS: dict[str, tuple[str | None, Callable[[Sequence[Run]], list[str]]]] = {
    "speed": (None, speed),
    "memory": ("memory", memory),
    "profile": ("profile", profile),
    "hlo": ("hlo", hlo),
}
"""Name of the section -> what `arguments["benchmark"]` is in its lines of the history, and what it makes of them."""


def write(text: str, runs: Sequence[Run]) -> str:
    """`text` with every table that it has a place for and the history has numbers for.

    Raises:
        ValueError: if a place does not end.
    """
    for name, (benchmark, make) in SECTIONS.items():
        begin, end = markers(name)
        own = [run for run in runs if run["arguments"].get("benchmark") == benchmark]
        if begin not in text or not own:
            continue
        before, rest = text.split(begin, 1)
        if end not in rest:
            raise ValueError(f"Received a document without {end!r}.")
        text = "\n".join([before + begin, *make(own), end + rest.split(end, 1)[1]])
    return text


def main() -> None:
    """Rewrites the document and draws the pictures."""
    path, runs = Path(_FLAGS.document), history.read(Path(_FLAGS.history))
    path.write_text(write(path.read_text(), runs))
    print(path)
    rows, _ = newest([run for run in runs if run["arguments"].get("benchmark") == "memory"], MEMORY_KEYS)
    for over in memory_plot.TITLES if rows else ():
        print(memory_plot.draw(over, [row for row in rows if row["over"] == over], path.parent / "images"))


if __name__ == "__main__":
    define_flags()
    app.run(lambda rest: console.guarded(main, rest))
