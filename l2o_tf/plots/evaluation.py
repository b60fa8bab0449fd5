"""Optimizers against each other: loss against step, one panel per problem."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2o_tf.common import summary
from l2o_tf.common.names import ends, shortened
from l2o_tf.plots import style

QUANTITY = f"ln of the mean of the\nlast {summary.WINDOW} losses"
"""The statistic that is drawn and written at the ends of lines; tables have the same."""

HEADROOM = 4.0
"""Units of ln loss above the lowest start (or the guessing level) beyond which a curve leaves the frame."""


AXES_WIDTH, LETTER_WIDTH = 4.6, 0.08
"""Inches: of a panel without the labels beside it, and of a letter of these labels."""


class Panel(NamedTuple):
    """One problem of an evaluation.

    Attributes:
        problem: name of the problem.
        curves: optimizer name -> losses `[runs, steps]`, at least one.
        data: which data was used (`str(DataInfo)`), or None.
        guess: loss of a guesser, `ln 10` with ten classes, drawn as a quiet line; None for no line.
    """

    problem: str
    curves: Mapping[str, np.ndarray]
    data: str | None = None
    guess: float | None = None


class Band(NamedTuple):
    """Mean and sample standard deviation over the runs that are alive at each of `ends`; NaN once none is."""

    ends: np.ndarray
    means: np.ndarray
    deviations: np.ndarray


def evaluation_figure(panels: Sequence[Panel], *, x_scale: Literal["linear", "log"] = "linear") -> Figure:
    """Loss against step: mean over runs of the ln of the trailing mean loss, with a band of one standard deviation.

    Every point is the statistic of `summary`, so that a line ends at the number of the table. A diverged run
    counts up to the step where it diverged; the label says how many did, and a line all of whose runs have diverged
    ends in a cross. An optimizer has the same colour in every panel. Long names are shortened. The figure is as large
    as the labels need it.

    Raises:
        ValueError: if there is no panel or no curve in one, or an array has not the shape `[runs, steps]`.
    """
    if not panels or not all(panel.curves for panel in panels):
        found = [len(panel.curves) for panel in panels]
        raise ValueError(f"Received panels with {found} curves, expected at least one panel and no empty one.")
    names = shortened((name for panel in panels for name in panel.curves), 32)
    styles = dict(zip(names, style.line_styles(len(names)), strict=True))
    rows = -(-len(panels) // 3)
    columns = -(-len(panels) // rows)
    longest = max(len("2 of 10 diverged"), *(len(name) + len("  \N{MINUS SIGN}10.00") for name in names.values()))
    width = AXES_WIDTH + LETTER_WIDTH * longest
    height = max(3.2, style.LABEL_ROW * (2 + max(map(_label_lines, panels))))
    with matplotlib.rc_context(style.STYLE):
        figure = style.new_figure(columns * width, (height + 1) * rows)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, panel in zip(grid, panels, strict=False):
            style.label_ends(ax, _draw_panel(ax, panel, names, styles, x_scale), height)
        for ax in grid[len(panels) :]:
            ax.set_visible(False)
        for ax in grid[::columns]:
            ax.set_ylabel(QUANTITY)
        figure.get_layout_engine().set(w_pad=0.09)
    return figure


def _label_lines(panel: Panel) -> int:
    """A line for each curve, and one more where runs have diverged."""
    return sum(1 + (not np.isfinite(losses).all()) for losses in panel.curves.values())


def _draw_panel(
    ax: Axes, panel: Panel, names: Mapping[str, str], styles: Mapping[str, tuple], x_scale: str
) -> list[style.Label]:
    """Draws a panel without the labels at the ends of its lines; returns these."""
    steps = max(np.shape(losses)[-1] for losses in panel.curves.values())
    labels, tops = [], []
    for name, given in panel.curves.items():
        losses = summary.as_curves(given)
        band = band_of(losses, x_scale)
        _draw_curve(ax, band, *styles[name])
        labels.append(_end_label(names[name], losses, band, steps, styles[name][0]))
        tops.append(band.means[0])
    if panel.guess is not None:
        labels.append(style.guess_line(ax, panel.guess))
        tops.append(labels[-1].y)
    ax.set_xscale(x_scale)
    ax.set_xlim(min(1.0, steps / 2) if x_scale == "log" else 0.0, steps)
    limit_top(ax, tops)
    style.count_axis(ax, "step")
    style.headings(ax, ends(panel.problem, 36), textwrap.fill(panel.data, 50, max_lines=3) if panel.data else None)
    return labels


def band_of(losses: np.ndarray, x_scale: str) -> Band:
    """What is drawn of `[runs, steps]` losses."""
    steps = losses.shape[1]
    if x_scale == "log":
        ends = np.geomspace(1, steps, 240)
    else:  # of a long run from the first whole window on
        ends = np.linspace(np.clip(steps // 40, 1, summary.WINDOW), steps, 240)
    ends = np.unique(np.round(ends).astype(int))
    values = summary.ln_means(losses, ends)
    means = summary.mean_alive(values)
    alive = np.isfinite(values)
    squares = np.where(alive, (values - means) ** 2, 0.0).sum(axis=0)
    return Band(ends, means, np.sqrt(squares / np.maximum(alive.sum(axis=0) - 1, 1)))


def _draw_curve(ax: Axes, band: Band, colour: str, line: str) -> None:
    drawn = np.flatnonzero(np.isfinite(band.means))
    marker = "o" if drawn.size == 1 else ""  # one point makes no line
    ax.plot(band.ends, band.means, line, marker=marker, color=colour, linewidth=1.9, zorder=3, clip_on=not marker)
    edges = band.means - band.deviations, band.means + band.deviations
    ax.fill_between(band.ends, *edges, color=colour, alpha=0.17, linewidth=0, zorder=2)
    if drawn.size and drawn[-1] + 1 < len(band.means):
        end = band.ends[drawn[-1]], band.means[drawn[-1]]
        ax.plot(*end, marker="X", color=colour, markersize=9, markeredgecolor="white", zorder=4)


def _end_label(name: str, losses: np.ndarray, band: Band, steps: int, colour: str) -> style.Label:
    runs = len(losses)
    diverged = int((summary.first_divergence(losses) < losses.shape[1]).sum())
    note = f"\n{diverged:,} of {runs:,} diverged" if diverged else ""
    drawn = np.flatnonzero(np.isfinite(band.means))
    if not drawn.size:
        return style.Label(0.0, np.nan, name + note, colour)
    end = float(band.means[drawn[-1]])
    value = f"  {style.signed(end)}" if diverged < runs else ""
    return style.Label(band.ends[drawn[-1]] / steps, end, name + value + note, colour)


def limit_top(ax: Axes, tops: Sequence[float]) -> None:
    """Keeps one exploding curve from squeezing all others."""
    finite = [top for top in tops if np.isfinite(top)]
    if finite and ax.get_ylim()[1] > min(finite) + HEADROOM:
        ax.set_ylim(ax.dataLim.y0 - 0.3, min(finite) + HEADROOM)
