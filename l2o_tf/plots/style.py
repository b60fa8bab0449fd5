"""What all figures share: canvas, colours, axes, labels beside the ends of lines, and the atomic `save`."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from l2o_tf.common.writing import write_atomically

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B3A8E", "#4D4D4D")
LINES = ("-", "--", "-.", ":")
INK, MUTED, GRID = "#222222", "#7A7A7A", "#E6E6E6"
DOTTED = (0, (1, 2))
DPI = 150
LABEL_SIZE = 9.5
LABEL_ROW = LABEL_SIZE * 1.28 / 72
"""Inches between the lines of labels."""

STYLE = {
    "font.size": 10.5,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.use": True,
}


class Label(NamedTuple):
    """A text that belongs to the end of a line.

    Attributes:
        x: where the line ends, as a fraction of the axis; only lines that reach 1.0 are tied to their label.
        y: last value of the line, NaN if it has none.
        text: one or more lines.
        colour: colour of the line; the text is drawn a little darker.
    """

    x: float
    y: float
    text: str
    colour: str


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches on an Agg canvas."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | os.PathLike) -> Path:
    """Writes a picture atomically, and makes its folder. The ending says of which kind it is; without one, a PNG.

    Raises:
        ValueError: if Matplotlib does not know the ending.
        OSError: if the file cannot be written; no partial file stays behind.
    """
    path, content = Path(path), io.BytesIO()
    kind = path.suffix[1:].lower() or "png"
    figure.savefig(content, format=kind, dpi=DPI, metadata={"Software": None} if kind == "png" else None)
    write_atomically(path, content.getvalue())
    return path


def line_styles(count: int) -> list[tuple[str, str]]:
    """`count` distinct pairs (colour, line style)."""
    return [(PALETTE[i % len(PALETTE)], LINES[i // len(PALETTE) % len(LINES)]) for i in range(count)]


def count_axis(ax: Axes, name: str) -> None:
    """Names the x axis and writes its numbers as 10,000."""
    ax.set_xlabel(name)
    if ax.get_xscale() == "linear":
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2.5, 5, 10], integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def headings(ax: Axes, title: str, note: str | None) -> None:
    """A bold title above a quiet note of one or more lines."""
    ax.set_title(title, pad=8 + 12 * (note.count("\n") + 1 if note else 0))
    if note:
        where = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
        ax.annotate(note, (0, 1), (0, 5), color=MUTED, fontsize=9, **where)


def guess_line(ax: Axes, guess: float) -> Label:
    """A quiet line at the ln loss of a guesser."""
    ax.axhline(np.log(guess), color=MUTED, linewidth=1.0, linestyle=DOTTED, zorder=1)
    return Label(1.0, float(np.log(guess)), "guessing", MUTED)


def label_ends(ax: Axes, labels: Sequence[Label], axis_inches: float = 3.2) -> None:
    """Writes every label beside the end of its line, pushed apart where they would overlap.

    One whose y is NaN or outside of the frame is written at the nearest edge. Call it last: it reads the limits of the
    y axis, whose height is about `axis_inches`.
    """
    low, high = ax.get_ylim()
    row = LABEL_ROW / axis_inches
    sizes = np.array([row * (1 + label.text.count("\n")) for label in labels])
    wanted = np.array([np.clip((np.nan_to_num(label.y, nan=high) - low) / (high - low), 0, 1) for label in labels])
    for label, place, want in zip(labels, spread(wanted, sizes), wanted, strict=True):
        if label.x == 1.0 and low <= label.y <= high:
            tie = {"transform": ax.transAxes, "clip_on": False, "linewidth": 0.9}
            ax.plot([1.0, 1.022], [want, place], color=label.colour, **tie)
        where = {"transform": ax.transAxes, "va": "center", "linespacing": 1.1}
        darker = [0.82 * part for part in colors.to_rgb(label.colour)]  # it can be read as text on white
        ax.text(1.03, place, label.text, color=darker, fontsize=LABEL_SIZE, **where)


def spread(wanted: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Centres nearest to the wanted ones, in the same order, whose intervals of the given sizes do not overlap.

    They stay within the axis, `[0, 1]`, as long as there is room. Pool adjacent violators: subtract the room that the
    labels below need, make the rest non-decreasing, add it back.
    """
    order = np.argsort(wanted, kind="stable")
    offsets = np.cumsum(sizes[order]) - sizes[order] / 2
    pools: list[tuple[float, int]] = []  # (mean, count)
    for value in wanted[order] - offsets:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n)]
    places = np.empty(len(wanted))
    starts = np.repeat([mean for mean, _ in pools], [count for _, count in pools])
    places[order] = np.clip(starts, 0.0, max(0.0, 1.0 - sizes.sum())) + offsets
    return places


def signed(value: float) -> str:
    """Two digits after the point, with a real minus sign."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
