"""Writes the table of docs/performance.md and draws its two plots, from the newest runs in benchmarks/history.jsonl.

python -m benchmarks.document
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from absl import flags
from matplotlib.ticker import FixedLocator, FuncFormatter

from benchmarks import history
from l2o_tf.cli import console
from l2o_tf.plots import style

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- table: python -m benchmarks.document -->", "<!-- end of table -->"
Row = dict[str, Any]

PLOTS = {
    "truncation": ("Peak memory of a meta-step, MLP-orig", "steps per window", "L2O-DM, 15,910 coordinates"),
    "coordinates": ("Peak memory of a meta-step of 20 steps", "coordinates", "L2O-DM, on a trivial optimizee"),
}
"""What varies -> title, axis, note of a plot."""
NAMES = {"ours-xla": "ours", "plain": "plain autodiff"}


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_string("history", str(history.HISTORY), "Where the numbers are.", flag_values=values)
    text = "What is written; its folder `images` gets the plots."
    flags.DEFINE_string("document", str(DOCS / "performance.md"), text, flag_values=values)


def newest(runs: Sequence[history.Run], keys: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The newest row of each combination of these keys, and where these rows are from."""
    found = {tuple(row.get(key) for key in keys): (row, run) for run in runs for row in run["results"]}
    return [row for row, _ in found.values()], list(dict.fromkeys(history.source(run) for _, run in found.values()))


def table(runs: Sequence[history.Run]) -> list[str]:
    """A line per problem, optimizer and phase, with the milliseconds per step of all methods beside each other."""
    rows, sources = newest(runs, ("problem", "optimizer", "phase", "method"))
    groups: dict[tuple, dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row["problem"], row["optimizer"], row["phase"]), {})[row["method"]] = row
    heading = ("problem", "optimizer", "phase", "ours", "sampled, 1/8", "plain autodiff", "JAX", "Adam", "floor")
    heading += ("ours / floor", "plain / ours", "plain / sampled", "memory: ours, MiB", "sampled, MiB", "plain, MiB")
    lines = [f"| {' | '.join(heading)} |", "|---|---|---|" + "---:|" * (len(heading) - 3)]
    for names, methods in groups.items():
        rows = [methods.get(method, {}) for method in ("ours-xla", "sampled8-xla", "plain", "jax", "adam-xla", "floor")]
        cells = [_cell(row.get("ms_median")) for row in rows]
        cells += [_cell(rows[0].get("floor_ratio"))]
        cells += [_cell(ratio and 1 / ratio) for ratio in (row.get("ratio") for row in rows[:2])]
        cells += [f"{row['peak_mib']:,.0f}" if "peak_mib" in row else "" for row in rows[:3]]
        lines.append(f"| {' | '.join([*names, *cells])} |")
    return [*lines, "", *sources]


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def write(text: str, runs: Sequence[history.Run]) -> str:
    """The document with a new table between its marks.

    Raises:
        ValueError: if it does not have them.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"Received a document without the lines {BEGIN!r} and {END!r}.")
    return "\n".join([before + begin, *table(runs), end + after])


def plot(over: str, rows: Sequence[Row], folder: Path) -> Path:
    """Draws peak memory over what varies: `perf_memory_<over>.png`. Points that could not be run are hollow."""
    title, axis, note = PLOTS[over]
    with matplotlib.rc_context(style.STYLE):
        figure = style.new_figure(7.4, 4.2)
        ax = figure.subplots()
        ax.set_xscale("log")
        labels, methods = [], list(dict.fromkeys(row["method"] for row in rows))
        for method, (colour, _) in zip(methods, style.line_styles(len(methods)), strict=True):
            own = sorted((row for row in rows if row["method"] == method), key=lambda row: row["size"])
            sizes, values = np.array([row["size"] for row in own]), np.log2(_gibibytes(own))
            run = np.array(["note" not in row for row in own])
            common = {"color": colour, "clip_on": False, "zorder": 3}
            ax.plot(sizes, values, "--o", linewidth=1.2, markersize=6, markerfacecolor="white", **common)
            ax.plot(sizes[run], values[run], "-o", linewidth=2.4, markersize=5, **common)
            size = f"{2 ** values[-1]:.1f}" if values[-1] < 3.3 else f"{2 ** values[-1]:.0f}"
            text = NAMES.get(method, method) + ("" if run[-1] else "\n(in proportion)") + f": {size} GiB"
            labels.append(style.Label(1.0, float(values[-1]), text, colour))
        _axes(ax, sorted({row["size"] for row in rows}))
        style.count_axis(ax, axis)
        style.headings(ax, title, note + "\ntracing and compilers included; hollow: not run, in proportion")
        style.label_ends(ax, labels)
    return style.save(figure, folder / f"perf_memory_{over}.png")


def _gibibytes(rows: Sequence[Row]) -> list[float]:
    """Peaks of a method. A point that was not run is in proportion to the last one that was."""
    last, found = rows[0], []
    for row in rows:
        last = row if "peak_mib" in row else last
        found.append(last["peak_mib"] / 1024 * row["size"] / last["size"])
    return found


def _axes(ax, sizes: Sequence[int]) -> None:
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(FixedLocator([]))
    ax.set(xlim=(sizes[0] * 0.9, sizes[-1]), ylabel="peak memory")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(FixedLocator(range(int(np.floor(low)), int(np.ceil(high)) + 1)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{2**y:g} GiB" if y >= 0 else f"{2 ** (y + 10):g} MiB"))
    ax.set_ylim(low, high)


def main(values: flags.FlagValues) -> int:
    """Rewrites the document and draws the plots."""
    path, runs = Path(values.document), [json.loads(line) for line in Path(values.history).read_text().splitlines()]
    by_kind = {kind: [run for run in runs if run["arguments"].get("benchmark") == kind] for kind in (None, "memory")}
    path.write_text(write(path.read_text(), by_kind[None]))
    print(path)
    rows, _ = newest(by_kind["memory"], ("over", "method", "size"))
    for over in PLOTS if rows else ():
        print(plot(over, [row for row in rows if row["over"] == over], path.parent / "images"))
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
