"""One validation: what happens beyond the horizon that was trained, which is what the curriculum is about."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2o_tf.common import summary
from l2o_tf.plots import style


def validation_figure(
    losses: np.ndarray,
    *,
    horizon_train: int,
    meta_epoch: int,
    stage: int | None = None,
    data: str | None = None,
) -> Figure:
    """The truncation bias made visible.

    Thin lines are single runs, the bold one their mean, in ln of a trailing mean over a fiftieth of the validation
    horizon. Both horizons are marked with their ln loss, and the level that was reached at the training horizon is
    carried on to the right, where it can be compared.

    Args:
        losses: `[runs, validation horizon]`.
        horizon_train: steps of the training runs; at most the validation horizon.
        meta_epoch: meta-epochs done so far.
        stage: stage of the curriculum, or None.
        data: which data was used (`str(DataInfo)`), or None.

    Raises:
        ValueError: if `losses` has not the shape `[runs, steps]` or the training horizon is outside of it.
    """
    losses = summary.as_curves(losses)
    horizon = losses.shape[1]
    if not 1 <= horizon_train <= horizon:
        raise ValueError(
            f"Received horizon_train={horizon_train}, expected 1..{horizon} (the steps of the validation runs); "
            "validate for at least as many steps as were trained."
        )
    window = max(1, horizon // 50)
    at_train, at_end = summary.mean_alive(summary.ln_means(losses, [horizon_train, horizon], window))
    with matplotlib.rc_context(style.STYLE):
        figure = style.new_figure(7.4, 4.4)
        ax = figure.subplots()
        _draw_runs(ax, losses, window)
        labels = []
        ax.set(xlim=(0, horizon), ylabel="ln loss")
        if horizon_train < horizon:
            labels.append(_mark(ax, horizon_train, horizon, at_train, "training", style.PALETTE[1]))
        labels.append(_mark(ax, horizon, horizon, at_end, "validation", style.PALETTE[2]))
        style.count_axis(ax, "step")
        title = f"Validation after {meta_epoch:,} meta-epochs" + ("" if stage is None else f", stage {stage}")
        style.headings(ax, title, _words(losses, at_end - at_train) + (f"\n{data}" if data else ""))
        style.label_ends(ax, labels)
    return figure


def _draw_runs(ax: Axes, losses: np.ndarray, window: int) -> None:
    steps = losses.shape[1]
    ends = np.unique(np.append(np.arange(1, steps + 1, max(1, steps // 400)), steps))
    values = summary.ln_means(losses, ends, window)
    ax.plot(ends, values.T, color=style.PALETTE[0], alpha=0.22, linewidth=0.8, zorder=2)
    ax.plot(ends, summary.mean_alive(values), color=style.PALETTE[0], linewidth=2.4, zorder=3)


def _mark(ax: Axes, step: int, last: int, value: float, name: str, colour: str) -> style.Label:
    """A vertical line at a horizon, a dot on the mean curve, its level carried to the right edge."""
    ax.axvline(step, color=colour, linewidth=1.3, linestyle="--", zorder=1, clip_on=False)
    if not np.isfinite(value):
        return style.Label(0.0, np.nan, f"{name} horizon\nstep {step:,}: diverged", colour)
    ax.plot([step, last], [value, value], color=colour, linewidth=1.3, linestyle=style.DOTTED, zorder=4)
    ax.plot(step, value, "o", color=colour, markersize=7.5, markeredgecolor="white", zorder=5, clip_on=False)
    return style.Label(1.0, value, f"{name} horizon\nstep {step:,}: {style.signed(value)}", colour)


def _words(losses: np.ndarray, change: float) -> str:
    runs, steps = losses.shape
    diverged = int((summary.first_divergence(losses) < steps).sum())
    parts = [f"{runs} runs"]
    if diverged:
        parts.append(f"{diverged} diverged")
    if np.isfinite(change) and change:
        parts.append(f"ln loss {'falls' if change < 0 else 'rises'} by {abs(change):.2f} beyond the training horizon")
    return ", ".join(parts)
