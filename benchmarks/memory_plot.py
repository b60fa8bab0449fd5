"""The two figures of `benchmarks/bench_memory.py`: peak memory of a meta-step over truncation, and over coordinates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter

from l2o_tf.plots import style

NAMES = {"ours-xla": "ours", "plain": "plain autodiff", "plain-xla": "plain autodiff, XLA"}
TARGETS = {"truncation": (1000, 1.5), "coordinates": (10_000_000, 8.0)}
"""What is aimed at: a size, and the GiB that it may take."""
TITLES = {
    "truncation": ("Peak memory of a meta-step, MLP-orig", "steps per window", "L2O-DM, 15,910 coordinates"),
    "coordinates": (
        "Peak memory of a meta-step of 20 steps",
        "coordinates",
        "L2O-DM, on a trivial optimizee",
    ),
}


def draw(over: str, rows: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Draws one of the two and returns where: `perf_memory_<over>.png`. Points that were too large are hollow."""
    title, axis, note = TITLES[over]
    with matplotlib.rc_context(style.STYLE):
        figure = style.new_figure(7.4, 4.2)
        ax = figure.subplots()
        ax.set_xscale("log")
        labels = []
        methods = list(dict.fromkeys(row["method"] for row in rows))
        for method, (colour, _) in zip(methods, style.line_styles(len(methods)), strict=True):
            own = sorted((row for row in rows if row["method"] == method), key=lambda row: row["size"])
            sizes = [row["size"] for row in own]
            values = np.log2(_gibibytes(own))
            run = np.array(["note" not in row for row in own])
            ax.plot(sizes, values, color=colour, linewidth=1.2, linestyle="--", zorder=2)
            ax.plot(
                np.array(sizes)[run],
                values[run],
                "-o",
                color=colour,
                linewidth=2.4,
                markersize=5,
                zorder=3,
                clip_on=False,
            )
            hollow = {"markerfacecolor": "white", "markersize": 6, "zorder": 4, "clip_on": False}
            ax.plot(np.array(sizes)[~run], values[~run], "o", color=colour, **hollow)
            text = NAMES.get(method, method) + ("" if run[-1] else "\n(in proportion)") + f": {_gib(2 ** values[-1])}"
            labels.append(style.Label(1.0, float(values[-1]), text, colour))
        size, limit = TARGETS[over]
        ax.plot(size, np.log2(limit), "_", color=style.MUTED, markersize=22, markeredgewidth=1.6)
        ax.annotate(
            f"target: {limit:g} GiB",
            (size, np.log2(limit)),
            (-14, 4),
            color=style.MUTED,
            fontsize=9,
            ha="right",
            textcoords="offset points",
        )
        _axes(ax, sorted({row["size"] for row in rows}))
        style.count_axis(ax, axis)
        style.headings(ax, title, note + "\ntracing and compilers included; hollow: not run, in proportion")
        style.label_ends(ax, labels)
    return style.save(figure, folder / f"perf_memory_{over}.png")


def _gibibytes(rows: Sequence[dict[str, Any]]) -> list[float]:
    """Peaks of a method; of points that were not run, in proportion to the last one that was."""
    last, found = rows[0], []
    for row in rows:
        last = row if "peak_mib" in row else last
        found.append(last["peak_mib"] / 1024 * row["size"] / last["size"])
    return found


def _gib(value: float) -> str:
    return f"{value:.1f} GiB" if value < 10 else f"{value:.0f} GiB"


def _axes(ax, sizes: Sequence[int]) -> None:
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_minor_locator(FixedLocator([]))
    ax.set(xlim=(sizes[0] * 0.9, sizes[-1]), ylabel="peak memory")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(FixedLocator(range(int(np.floor(low)), int(np.ceil(high)) + 1)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{2**y:g} GiB" if y >= 0 else f"{2 ** (y + 10):g} MiB"))
    ax.set_ylim(low, high)
