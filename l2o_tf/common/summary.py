"""Loss curves -> the numbers that are printed, stored and compared. NumPy only.

One statistic serves the table, the figures and the comparison with the paper: the natural logarithm of the mean of
the (up to) 50 recorded losses that end at a step, taken for every run by itself::

    s_r(t) = ln( mean( losses[r, max(0, t - 50) : t] ) )

Mean, sample standard deviation and median are then taken over the runs `r`. The logarithm is taken before the runs are
averaged, as one would average the curves of a figure: one bad run shifts the mean instead of being the mean.

A run has *diverged* at step `t` if any of its first `t` losses is not finite. Diverged runs leave the statistics from
there on and are reported as a share of their own, so that no number silently hides them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from l2o_tf.common.names import shortened

CHECKPOINTS = (100, 1_000, 2_000, 5_000, 10_000)
"""Steps at which an evaluation is summarized."""

WINDOW = 50
"""Number of recorded losses that are averaged before the logarithm."""

LN_FLOOR = float(np.log(np.finfo(np.float32).tiny))
"""-87.3: stands for the logarithm of a loss of zero, which small problems reach."""


class Row(NamedTuple):
    """One line of a comparison: names, what `summarize` returned, and which data was used, `str(DataInfo)`."""

    problem: str
    optimizer: str
    summary: Mapping[str, Any]
    data: str | None = None


def as_curves(losses: Any) -> np.ndarray:
    """Losses as float64 `[runs, steps]`; one curve `[steps]` becomes one run. Raises ValueError for other shapes."""
    curves = np.atleast_2d(np.asarray(losses, np.float64))
    if curves.ndim != 2 or 0 in curves.shape:
        raise ValueError(
            f"Received losses of shape {np.shape(losses)}, expected [runs, steps] with at least one of each; "
            "pass the recorded losses of one optimizer on one problem."
        )
    return curves


def first_divergence(losses: np.ndarray) -> np.ndarray:
    """Number of finite losses before the first non-finite one, per run: int `[runs]`, `steps` where there is none."""
    bad = ~np.isfinite(losses)
    return np.where(bad.any(axis=1), bad.argmax(axis=1), losses.shape[1])


def ln_means(losses: Any, ends: Sequence[int] | np.ndarray, window: int = WINDOW) -> np.ndarray:
    """`s_r(t)` of each run at each t of `ends`, float64 `[runs, len(ends)]`.

    It is NaN from the first end on whose past contains a non-finite loss. A mean of zero or less gives `LN_FLOOR`.
    """
    curves = as_curves(losses)
    alive = first_divergence(curves)
    values = np.full([curves.shape[0], len(ends)], np.nan)
    for column, end in enumerate(ends):
        ok = alive >= end
        means = curves[ok, max(0, end - window) : end].mean(axis=1)
        values[ok, column] = np.log(np.maximum(means, np.exp(LN_FLOOR)))
    return values


def mean_alive(values: np.ndarray) -> np.ndarray:
    """Mean over the finite entries of every column of `[runs, columns]`, NaN where there is none."""
    alive = np.isfinite(values)
    counts = alive.sum(axis=0)
    return np.where(counts > 0, np.where(alive, values, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def summarize(
    losses: Any, checkpoints: Sequence[int] = CHECKPOINTS, window: int = WINDOW, seconds: float | None = None
) -> dict[str, Any]:
    """Statistics over runs at a few steps.

    Args:
        losses: `[runs, steps]`.
        checkpoints: steps; those beyond the last step are left out, and the last step is always one of them.
        window: number of losses averaged before the logarithm.
        seconds: wall time of all runs together without compilation, or None if unknown. That of a run and a step is
            taken to be proportional.

    Returns:
        A dict that JSON can hold (None stands for "does not exist")::

            {"runs", "steps", "window", "seconds_per_run", "ms_per_step",
             "at": [{"step", "seconds", "mean", "std", "median", "diverged"}, ...]}

        with `mean`, `std` (sample standard deviation, None for a single run) and `median` in natural logarithms over
        the runs that have not diverged, and `diverged` in `[0, 1]` as their share.
    """
    curves = as_curves(losses)
    runs, steps = curves.shape
    ends = sorted({int(step) for step in checkpoints if 0 < step < steps} | {steps})
    per_run = None if seconds is None else seconds / runs
    columns = ln_means(curves, ends, window).T
    return {
        "runs": runs,
        "steps": steps,
        "window": window,
        "seconds_per_run": per_run,
        "ms_per_step": None if per_run is None else 1e3 * per_run / steps,
        "at": [
            {"step": end, "seconds": None if per_run is None else per_run * end / steps} | _statistics(column)
            for end, column in zip(ends, columns, strict=True)
        ],
    }


def _statistics(values: np.ndarray) -> dict[str, float | None]:
    finite = values[np.isfinite(values)]
    return {
        "mean": float(finite.mean()) if finite.size else None,
        "std": float(finite.std(ddof=1)) if finite.size > 1 else None,
        "median": float(np.median(finite)) if finite.size else None,
        "diverged": float(1 - finite.size / values.size),
    }


def format_table(rows: Sequence[Row]) -> str:
    """A table for the terminal, at most 107 columns wide: one block per problem, one line per step; long names cut."""
    shown = shortened((row.optimizer for row in rows), 40)
    width = max([len("optimizer"), *map(len, shown.values())])
    head = f"{'optimizer':<{width}} {'step':>8} {'seconds':>9} {'ms/step':>8} "
    head += f"{'mean':>8} {'std':>7} {'median':>8} {'diverged':>9}"
    blocks = []
    for problem in dict.fromkeys(row.problem for row in rows):
        members = [row for row in rows if row.problem == problem]
        runs = "/".join(f"{count:,}" for count in sorted({row.summary["runs"] for row in members}))
        lines = [
            f"{problem}{f' on {members[0].data}' if members[0].data else ''}",
            f"ln of the mean of up to {WINDOW} losses, over {runs} runs; time per run without compilation",
            *("", head, "-" * len(head)),
            *(line for row in members for line in _lines(shown[row.optimizer], row.summary, width)),
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def format_cell(at: Mapping[str, Any] | None) -> str:
    """`mean ± std` of an entry of `summarize`; only the mean of a single run, nothing where every run has diverged."""
    if at is None or at["mean"] is None:
        return ""
    return f"{at['mean']:.2f}" if at["std"] is None else f"{at['mean']:.2f} ± {at['std']:.2f}"


def _lines(name: str, summary: Mapping[str, Any], width: int) -> Iterator[str]:
    for index, at in enumerate(summary["at"]):
        yield (
            f"{'' if index else name:<{width}} {at['step']:>8,} {_number(at['seconds'], 2):>9} "
            f"{_number(summary['ms_per_step'], 3):>8} {_number(at['mean'], 2):>8} {_number(at['std'], 2):>7} "
            f"{_number(at['median'], 2):>8} {at['diverged']:>9.0%}"
        )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
