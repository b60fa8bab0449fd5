"""Several meta-training seeds in one picture: medians as lines, the spread over seeds as bands."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2o_tf.common.names import shortened
from l2o_tf.plots import style
from l2o_tf.plots.evaluation import AXES_WIDTH, LETTER_WIDTH, QUANTITY, limit_top

OFF = 1e3
"""Stands for an infinite ln loss in a band: far above the frame."""


class Seeds(NamedTuple):
    """The curves of a recipe: `x [P]` and `values [seeds, P]`.

    A value is infinite where a seed has diverged, and NaN where it has none.
    """

    x: np.ndarray
    values: np.ndarray


class SeedPanel(NamedTuple):
    """A problem, or the validation.

    Attributes:
        title: what is above.
        curves: name of a recipe -> `Seeds`, at least one.
        x_label, y_label: names of the axes.
        note: quiet text below the title, or None.
        guess: loss of a guesser, drawn as a quiet line; None for no line.
    """

    title: str
    curves: Mapping[str, Seeds]
    x_label: str = "step"
    y_label: str = QUANTITY
    note: str | None = None
    guess: float | None = None


def study_figure(panels: Sequence[SeedPanel]) -> Figure:
    """Per recipe the median over seeds as a line, and the lowest to the highest seed as a band.

    Seeds that have a value at a point take part there. A line ends where the median is infinite. A recipe has the same
    colour in every panel. Long names are shortened.

    Raises:
        ValueError: if there is no panel, or no curve in one.
    """
    if not panels or not all(panel.curves for panel in panels):
        raise ValueError(f"Received {len(panels)} panels, expected at least one and no empty one.")
    names = shortened((name for panel in panels for name in panel.curves), 32)
    styles = dict(zip(names, style.line_styles(len(names)), strict=True))
    rows = -(-len(panels) // 3)
    columns = -(-len(panels) // rows)
    width = AXES_WIDTH + LETTER_WIDTH * (max(map(len, names.values())) + len("  \N{MINUS SIGN}10.00"))
    height = max(3.2, style.LABEL_ROW * (2 + len(names)))
    with matplotlib.rc_context(style.STYLE):
        figure = style.new_figure(columns * width, (height + 1.2) * rows + 0.3)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, panel in zip(grid, panels, strict=False):
            _draw_panel(ax, panel, names, styles, height)
        for ax in grid[len(panels) :]:
            ax.set_visible(False)
        figure.supxlabel("line: median over seeds; band: lowest to highest seed", color=style.MUTED, fontsize=9)
        figure.get_layout_engine().set(w_pad=0.09)
    return figure


def _draw_panel(
    ax: Axes, panel: SeedPanel, names: Mapping[str, str], styles: Mapping[str, tuple], height: float
) -> None:
    last = max(curves.x[-1] for curves in panel.curves.values())
    labels, starts = [], []
    for name, curves in panel.curves.items():
        medians = _draw_curves(ax, curves, *styles[name])
        drawn = np.flatnonzero(np.isfinite(medians))
        end = float(medians[drawn[-1]]) if drawn.size else np.nan
        text = f"{names[name]}  {style.signed(end) if drawn.size else 'diverged'}"
        labels.append(style.Label(curves.x[drawn[-1]] / last if drawn.size else 0.0, end, text, styles[name][0]))
        starts += [medians[drawn[0]]] if drawn.size else []
    if panel.guess is not None:
        labels.append(style.guess_line(ax, panel.guess))
        starts.append(labels[-1].y)
    ax.set_xlim(0, last)
    limit_top(ax, starts)
    ax.set_ylabel(panel.y_label)
    style.count_axis(ax, panel.x_label)
    style.headings(ax, panel.title, textwrap.fill(panel.note, 50, max_lines=3) if panel.note else None)
    style.label_ends(ax, labels, height)


def _draw_curves(ax: Axes, curves: Seeds, colour: str, line: str) -> np.ndarray:
    """Draws line and band; returns the medians, NaN where there is none to be drawn."""
    known = [column[~np.isnan(column)] for column in curves.values.T]
    medians = np.array([np.median(column) if column.size else np.nan for column in known])
    edges = [[min(f(column), OFF) if column.size else np.nan for column in known] for f in (np.min, np.max)]
    medians = np.where(np.isfinite(medians), medians, np.nan)
    marker = "o" if np.isfinite(medians).sum() == 1 else ""  # one point makes no line
    ax.plot(curves.x, medians, line, marker=marker, color=colour, linewidth=1.9, zorder=3)
    ax.fill_between(curves.x, *edges, color=colour, alpha=0.17, linewidth=0, zorder=2)
    return medians
