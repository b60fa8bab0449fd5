"""A whole meta-training on one page, drawn from its records."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2o_tf.plots import style

IMITATION = "imitation/"
LOSSES = ("train/final_loss", "validation/loss")
BOUNDARY = "#B4B4B4"


def training_figure(
    records: Sequence[Mapping[str, Any]], *, title: str = "Meta-training", data: str | None = None
) -> Figure:
    """Training and validation loss, imitation loss and meta-gradient against the meta-epoch, stages marked.

    Args:
        records: as `read_records` returns them: dicts with `meta_epoch` and any of `train/final_loss`,
            `validation/loss`, `validation/baseline`, `imitation/<teacher>`, `meta_gradient/norm`,
            `meta_gradient/skipped` (counted so far), `curriculum/stage`, `curriculum/horizon`. Panels without records
            are left out; None stands for a value that was not finite.
        title: headline.
        data: which data was used (`str(DataInfo)`), or None.

    Returns:
        The figure.

    Raises:
        ValueError: if there is neither a training nor a validation loss in the records.
    """
    if not any(len(series(records, key)[0]) for key in LOSSES):
        raise ValueError(
            f"Received {len(records)} records without any of {', '.join(LOSSES)}, expected at least one of them; "
            "read the records.jsonl of a run that has finished a meta-epoch."
        )
    gradients = series(records, "meta_gradient/norm")[0]
    below = [
        draw for draw, wanted in ((_draw_imitation, _teachers(records)), (_draw_gradient, gradients)) if len(wanted)
    ]
    heights = [3.4] + [1.6] * len(below)
    staged = "\n\n" if len(_stage_starts(records)[0]) else ""
    with matplotlib.rc_context(style.STYLE):
        figure = style.new_figure(8.6, sum(heights) + 1.1)
        grid = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights).ravel()
        grid[0].set_xlim(0, max(record["meta_epoch"] for record in records) + 1)
        for ax, draw in zip(grid, [_draw_losses, *below], strict=True):
            draw(ax, records)
            _mark_stages(ax, records, named=ax is grid[0])
        style.count_axis(grid[-1], "meta-epoch")
        style.headings(grid[0], title, f"{data or ''}{staged}" or None)
        figure.align_ylabels(grid)
    return figure


def series(records: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Meta-epochs and values of all records that have `key`; None becomes NaN."""
    pairs = [(r["meta_epoch"], np.nan if r[key] is None else r[key]) for r in records if key in r]
    epochs, values = np.array(pairs, float).reshape(-1, 2).T
    return epochs, values


def _draw_losses(ax: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    blue, orange = style.PALETTE[:2]
    labels = []
    epochs, values = series(records, "train/final_loss")
    if len(epochs):
        values = _log(values)
        _draw_cloud(ax, epochs, values, blue)
        labels.append(style.Label(0.0, _level(values), "training,\nlast step", blue))
    epochs, values = series(records, "validation/loss")
    if len(epochs):
        values = _log(values)
        for part in _split_by_stage(epochs, records):
            _draw_validation(ax, epochs[part], values[part], orange)
        _draw_baselines(ax, records, orange)
        words = "validation,\n\N{WHITE CIRCLE} best" + (" of stage" if len(_stage_starts(records)[0]) > 1 else "")
        words += "\n\u2508 to beat" if len(series(records, "validation/baseline")[0]) else ""
        labels.append(style.Label(0.0, _level(values[-1:]), words, orange))
    ax.set_ylabel("ln loss")
    style.label_ends(ax, labels)


def _draw_validation(ax: Axes, epochs: np.ndarray, values: np.ndarray, colour: str) -> None:
    ax.plot(epochs, values, "-o", color=colour, linewidth=1.9, markersize=4.5, markeredgecolor="white", zorder=4)
    if np.isfinite(values).any():
        best = np.nanargmin(values)
        ax.plot(epochs[best], values[best], "o", color=colour, markersize=10, fillstyle="none", zorder=5, clip_on=False)


def _draw_baselines(ax: Axes, records: Sequence[Mapping[str, Any]], colour: str) -> None:
    """A dotted line where a stage has its baseline, as long as the stage: what its validations have to beat."""
    starts, _ = _stage_starts(records)
    for epoch, value in zip(*series(records, "validation/baseline"), strict=True):
        start = epoch + (epoch + 1 in starts)  # it is recorded with the meta-epoch before its stage, or the very first
        end = min(starts[starts > start], default=ax.get_xlim()[1])
        level = float(_log(np.array(value)))
        ax.plot([start, end], [level, level], linestyle=style.DOTTED, color=colour, linewidth=1.6, zorder=3)


def _split_by_stage(epochs: np.ndarray, records: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """Indices of `epochs`, one array per stage: validation losses of two stages belong to two horizons."""
    starts, _ = _stage_starts(records)
    parts = np.split(np.arange(len(epochs)), np.searchsorted(epochs, starts))
    return [part for part in parts if len(part)]


def _draw_imitation(ax: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    labels = []
    for teacher, colour in zip(_teachers(records), style.PALETTE[2:] * 9, strict=False):
        epochs, values = series(records, teacher)
        values = _log(values)
        _draw_cloud(ax, epochs, values, colour)
        labels.append(style.Label(0.0, _level(values), teacher.removeprefix(IMITATION), colour))
    ax.set_ylabel("ln imitation\nloss")
    style.label_ends(ax, labels, axis_inches=1.5)


def _draw_gradient(ax: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    epochs, values = series(records, "meta_gradient/norm")
    _draw_cloud(ax, epochs, _log(values), style.PALETTE[6])
    ax.set_ylabel("ln meta-\ngradient norm")
    epochs, skipped = series(records, "meta_gradient/skipped")
    epochs = epochs[np.diff(skipped, prepend=0) > 0]
    if len(epochs):
        heights, colour = np.full(len(epochs), 0.04), style.PALETTE[1]
        ax.plot(epochs, heights, "|", color=colour, markersize=9, transform=ax.get_xaxis_transform())
        text = f"{int(np.nanmax(skipped)):,} skipped"
        style.label_ends(ax, [style.Label(0.0, ax.get_ylim()[0], text, colour)], axis_inches=1.5)


def _draw_cloud(ax: Axes, epochs: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Single values as faint dots, and medians of blocks of them as a line."""
    finite = np.isfinite(values)
    epochs, values = epochs[finite], values[finite]
    size = 2.5 if len(values) > 400 else 4.5
    ax.plot(epochs, values, ".", color=colour, markersize=size, alpha=0.35, markeredgewidth=0, zorder=2)
    width = max(1, min(50, len(values) // 20))
    blocks = np.array_split(np.arange(len(values)), max(1, len(values) // width))
    middles = [(np.mean(epochs[block]), np.median(values[block])) for block in blocks if len(block)]
    ax.plot(*np.array(middles).reshape(-1, 2).T, color=colour, linewidth=1.7, zorder=3)


def _mark_stages(ax: Axes, records: Sequence[Mapping[str, Any]], *, named: bool) -> None:
    """A line where a stage starts; in the named panel with its number and, where there is room, its horizon."""
    starts, stages = _stage_starts(records)
    horizons = dict(zip(*series(records, "curriculum/horizon"), strict=True))
    last = ax.get_xlim()[1]
    for start, stage, end in zip(starts, stages, [*starts[1:], last], strict=False):
        if start > starts[0]:
            ax.axvline(start, color=BOUNDARY, linewidth=1.0, zorder=1)
        if named:
            horizon = f"\n{int(horizons[start]):,} steps" if start in horizons else ""
            text = f"stage {int(stage)}{horizon}" if end - start > 0.1 * last else f"{int(stage)}\n"
            text = horizon if len(starts) == 1 else text
            where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "bottom"}
            ax.annotate(text, (start, 1), (2, 3), color=style.MUTED, fontsize=9, linespacing=1.1, **where)


def _stage_starts(records: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """First meta-epoch and number of every stage."""
    epochs, stages = series(records, "curriculum/stage")
    first = np.diff(stages, prepend=-1) != 0
    return epochs[first], stages[first]


def _teachers(records: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({key for record in records for key in record if key.startswith(IMITATION)})


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.where(values > 0, values, np.nan))


def _level(values: np.ndarray) -> float:
    """Where a line ends, the noise of its last values aside."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite[-min(20, -(-finite.size // 5)) :])) if finite.size else np.nan
