"""Several meta-training seeds as one result. NumPy only.

Two spreads are shown, which are different things. The *spread over seeds* says how much another meta-training would
differ. The *spread over runs* says how much another run of the same weights would differ. The number of a seed is the
mean over its runs of the ln loss at the last step (`summary`); a seed all of whose runs have diverged counts as
infinite. The median over seeds is robust to such a seed, and is infinite if half of them diverge.

Arms that have seeds in common are compared pairwise, seed by seed, with Wilcoxon's signed-rank test: exact, two-sided,
and robust to infinite values. With n seeds no p can be lower than 2 / 2^n: 0.06 for five seeds.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from l2o_tf.evaluating.results import PairResult
from l2o_tf.plots.evaluation import band_of
from l2o_tf.plots.study import SeedPanel, Seeds
from l2o_tf.saving.validations import kept_validation

Row = dict[str, Any]


class Member(NamedTuple):
    """An arm of a study with one seed.

    Attributes:
        arm, seed: its recipe, and the meta-training seed; a reference, which is not trained, has the seed None.
        card: of the finished training; None if there is none.
        results: by problem.
    """

    arm: str
    seed: int | None
    card: Mapping[str, Any] | None
    results: Mapping[str, PairResult]

    def end(self, problem: str) -> float:
        """Mean over runs of the ln loss at the last step."""
        mean = self.results[problem].summary["at"][-1]["mean"]
        return math.inf if mean is None else mean


def tabulate(members: Sequence[Member], baselines: Mapping[str, str]) -> "Tables":
    """All tables; `baselines`: arm -> the arm with which it is compared; others are compared with none."""
    return Tables(_evaluations(members), _trainings(members), _differences(members, baselines))


def _evaluations(members: Sequence[Member]) -> list[Row]:
    """A row per problem and arm."""
    rows = []
    for problem in dict.fromkeys(problem for member in members for problem in member.results):
        for arm, own in _by_arm([member for member in members if problem in member.results]).items():
            last = [member.results[problem].summary["at"][-1] for member in own]
            rows.append(
                {"problem": problem, "recipe": arm, "trained": own[0].seed is not None}
                | _over_seeds([member.end(problem) for member in own])
                | {"std_over_runs": _mean([at["std"] for at in last if at["std"] is not None])}
                | {"diverged_runs": _mean([at["diverged"] for at in last])}
                | {"of_seeds": {str(member.seed): member.end(problem) for member in own}}
            )
    return rows


def _trainings(members: Sequence[Member]) -> list[Row]:
    """A row per arm: what its trainings have reached, and what they have taken."""
    rows = []
    for arm, own in _by_arm([member for member in members if member.card]).items():
        kept = [kept_validation(member.card) or {"cost": math.inf, "stage": 0} for member in own]
        stages = [each["stage"] for each in kept]
        rows.append(
            {"recipe": arm}
            | _over_seeds([each["cost"] for each in kept])
            | {"stages": [min(stages), max(stages)]}
            | {"meta_epochs": float(np.median([member.card["meta_epochs"] for member in own]))}
            | {"hours": float(np.median([member.card["wall_seconds"] for member in own])) / 3600}
        )
    return rows


def _differences(members: Sequence[Member], baselines: Mapping[str, str]) -> list[Row]:
    """A row per problem and arm that has seeds in common with its baseline; differences are arm - baseline."""
    rows, trained = [], [member for member in members if member.seed is not None]
    for problem in dict.fromkeys(problem for member in trained for problem in member.results):
        ends = {
            arm: {member.seed: member.end(problem) for member in own}
            for arm, own in _by_arm([member for member in trained if problem in member.results]).items()
        }
        for arm, own in ends.items():
            baseline = baselines.get(arm)
            other = ends.get(baseline, {}) if baseline != arm else {}
            if seeds := sorted(own.keys() & other.keys()):
                pairs = [(own[seed], other[seed]) for seed in seeds]
                differences = [0.0 if a == b else a - b for a, b in pairs]
                rows.append(
                    {"problem": problem, "recipe": arm, "baseline": baseline}
                    | _over_seeds(differences)
                    | {"better": sum(each < 0 for each in differences), "p": signed_rank_p(differences)}
                )
    return rows


def signed_rank_p(differences: Sequence[float]) -> float:
    """Exact two-sided p-value of Wilcoxon's signed-rank test; zeros are left out, ties have the mean of their ranks.

    >>> signed_rank_p([-1.0, -2.0, -3.0, -4.0, -5.0])
    0.0625
    """
    values = np.array([each for each in differences if each], float)
    sizes = abs(values)
    doubled = [int(2 * (sizes < size).sum() + (sizes == size).sum() + 1) for size in sizes]  # so that ties are whole
    counts = np.ones(1)  # of the sums of the ranks with a plus, over all 2^n choices of signs
    for rank in doubled:
        counts = np.concatenate([counts, np.zeros(rank)]) + np.concatenate([np.zeros(rank), counts])
    middle = sum(doubled) / 2
    found = sum(rank for rank, value in zip(doubled, values, strict=True) if value > 0)
    return float(counts[abs(np.arange(counts.size) - middle) >= abs(found - middle)].sum() / counts.sum())


def _by_arm(members: Sequence[Member]) -> dict[str, list[Member]]:
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(member.arm, []).append(member)
    return found


def _over_seeds(values: Sequence[float]) -> Row:
    """Number, median, extremes, and the sample standard deviation of those that are finite."""
    finite = [value for value in values if math.isfinite(value)]
    std = float(np.std(finite, ddof=1)) if len(finite) > 1 else None
    median = float(np.median(values))
    return {"seeds": len(values), "median": median, "lowest": min(values), "highest": max(values), "std": std}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


class Tables(NamedTuple):
    """Rows per problem and arm, per arm, and per problem and arm that has a baseline. `str` gives Markdown."""

    evaluations: list[Row]
    trainings: list[Row]
    differences: list[Row]

    def to_json(self) -> str:
        """All rows; null stands for what is infinite or does not exist."""
        return json.dumps(_finite(self._asdict()), indent=1, allow_nan=False)

    def __str__(self) -> str:
        parts = [
            EVALUATIONS if self.evaluations else "",
            *_table(
                [
                    {
                        "problem": row["problem"],
                        "recipe": row["recipe"],
                        "seeds": str(row["seeds"]) if row["trained"] else "not trained",
                        "median of seeds": _number(row["median"]),
                        "seeds from ... to": _range(row),
                        "std over seeds": _number(row["std"]),
                        "std over runs": _number(row["std_over_runs"]),
                        "diverged runs": f"{row['diverged_runs']:.0%}",
                    }
                    for row in self.evaluations
                ]
            ),
            TRAININGS if self.trainings else "",
            *_table(
                [
                    {
                        "recipe": row["recipe"],
                        "seeds": str(row["seeds"]),
                        "validation, median": _number(row["median"], ".4g"),
                        "from ... to": _range(row, ".4g"),
                        "last stage": " ... ".join(map(str, dict.fromkeys(row["stages"]))),
                        "meta-epochs, median": f"{row['meta_epochs']:,.0f}",
                        "hours, median": f"{row['hours']:.2f}",
                    }
                    for row in self.trainings
                ]
            ),
            DIFFERENCES if self.differences else "",
            *_table(
                [
                    {
                        "problem": row["problem"],
                        "recipe": f"{row['recipe']} - {row['baseline']}",
                        "median difference": _number(row["median"]),
                        "from ... to": _range(row),
                        "seeds that are better": f"{row['better']} of {row['seeds']}",
                        "p": f"{row['p']:.3f}",
                    }
                    for row in self.differences
                ]
            ),
        ]
        return "\n".join(parts).strip()


EVALUATIONS = """
ln loss at the last step; lower is better. The number of a seed is the mean over its runs. There are two spreads: over
meta-training seeds, and over runs of the same weights (the mean over seeds of the standard deviation within a seed).
"""
TRAININGS = """
Trainings: cost of the validation whose weights were kept (costs of different stages do not compare).
"""
DIFFERENCES = """
Differences from the baseline, seed by seed; below 0 the recipe is better. p: Wilcoxon's signed-rank test, exact and
two-sided; with n seeds it is at least 2 / 2^n. It is not corrected for the number of rows.
"""


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Markdown, in columns of even width."""
    if not rows:
        return []
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))} |" for row in cells]
    return [lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]]


def _number(value: float | None, form: str = ".2f") -> str:
    """Infinite is what has diverged; minus infinity is a difference from what has diverged."""
    if value is None:
        return ""
    return format(value, form) if math.isfinite(value) else "diverged" if value > 0 else "baseline diverged"


def _range(row: Row, form: str = ".2f") -> str:
    return f"{_number(row['lowest'], form)} ... {_number(row['highest'], form)}" if row["seeds"] > 1 else ""


def panels(members: Sequence[Member]) -> list[SeedPanel]:
    """What `plots.study_figure` draws: a panel per problem, and one of the validations."""
    found = []
    for problem in dict.fromkeys(problem for member in members for problem in member.results):
        own = [member for member in members if problem in member.results]
        curves = {arm: _loss_curves([member.results[problem] for member in each]) for arm, each in _by_arm(own).items()}
        result = own[0].results[problem]
        found.append(SeedPanel(problem, curves, note=result.data, guess=result.guess))
    histories = {
        arm: [member.card["validation"] for member in own]
        for arm, own in _by_arm([member for member in members if member.card and member.card["validation"]]).items()
    }
    if histories:
        stages = {each["stage"] for own in histories.values() for history in own for each in history}
        note = "later stages have longer horizons" if len(stages) > 1 else None
        curves = {arm: _validation_curves(own) for arm, own in histories.items()}
        found.append(SeedPanel("validation", curves, "meta-epoch", "ln of the validation cost", note))
    return found


def _loss_curves(found: Sequence[PairResult]) -> Seeds:
    bands = [band_of(result.losses, "linear") for result in found]
    means = np.stack([band.means for band in bands])
    return Seeds(bands[0].ends, np.where(np.isnan(means), np.inf, means))


def _validation_curves(found: Sequence[Sequence[Mapping[str, Any]]]) -> Seeds:
    """Without the first validation of each later stage, its baseline, whose weights have just been validated."""
    costs = []
    for validations in found:
        stages = [0, *(each["stage"] for each in validations)]
        own = [each for each, before in zip(validations, stages, strict=False) if each["stage"] == before]
        costs.append({each["epoch"]: math.inf if each["cost"] is None else each["cost"] for each in own})
    epochs = sorted(set().union(*costs))
    values = np.array([[cost.get(epoch, np.nan) for epoch in epochs] for cost in costs])
    return Seeds(np.array(epochs), np.log(np.where(values > 0, values, np.nan)))
