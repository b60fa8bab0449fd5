"""What is known of a trained optimizer, in words: what it was trained on, how, and what it is good for.

A folder of `l2o_tf/pretrained` has, beside the weights, `optimizer.json`, which says how they were made, and
`results.json`, what reproduce.py measured of these very weights. `docs/cards.py` writes the latter, and a page of both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l2o_tf.common import summary
from l2o_tf.common.names import PRETRAINED
from l2o_tf.common.reading import read_json
from l2o_tf.saving import CARD

RESULTS = "results.json"

Card = Mapping[str, Any]


def read(name: str) -> tuple[Card, dict[str, Any]]:
    """Of a shipped optimizer: `optimizer.json`, and `results.json`; {} where there is none."""
    paths = (PRETRAINED / name / file for file in (CARD, RESULTS))
    card, results = (read_json(path) if path.exists() else {} for path in paths)
    return card, results


def entry(name: str, card: Card, results: Mapping[str, Any]) -> str:
    """Four lines: the name; trained on what and how; what it is good for; what was measured."""
    lines = (
        ("trained on", trained_on(card)),
        ("good for", f"{good_for(card, results)}; unknown elsewhere"),
        ("ln loss", _endings(results) or "not measured yet"),
    )
    return "\n".join([name, *(f"    {title:11}{text}" for title, text in lines)])


def trained_on(card: Card) -> str:
    """`mnist (55,000 examples), runs of up to 500 steps, with curriculum and imitation, 800 meta-epochs`.

    Weights that were trained further are said to be; what they began with has a card of its own.
    """
    config = card["config"]
    techniques = [name for name in ("curriculum", "imitation", "self_improving", "random_scaling") if config.get(name)]
    parts = [
        f"{config['problem']} ({card['data']['size']:,} examples)" if card["data"] else config["problem"],
        *([f"further, after {Path(begun).name}"] if (begun := config.get("initial_weights")) else []),
        runs(card),
        f"with {' and '.join(techniques).replace('_', '-')}" if techniques else "plain",
        f"{card['meta_epochs']:,} {'more ' if begun else ''}meta-epochs",
        *([_between(card["interpolated"])] if "interpolated" in card else []),
        *([_adjusted(card["adjusted"])] if "adjusted" in card else []),
    ]
    return ", ".join(parts)


def _between(interpolated: Mapping[str, Any]) -> str:
    return f"of which {interpolated['share']:.0%} of the way is kept"


def _adjusted(adjusted: Mapping[str, Any]) -> str:
    """`then updates times 0.5 and no drift where there never was a gradient`."""
    parts = [f"updates times {adjusted['factor']:g}"] if adjusted["factor"] != 1 else []
    parts += ["no drift where there never was a gradient"] if adjusted["no_drift"] else []
    if rates := adjusted.get("initial_learning_rates"):
        parts.append(f"first learning rates from {rates[0]:g} to {rates[1]:g}")
    return f"then {' and '.join(parts)}"


def good_for(card: Card, results: Mapping[str, Any]) -> str:
    """`networks like that of mnist, for up to 10,000 steps; on mnist_relu for up to 1,000`: to its last gain.

    Where what it was trained on has not been measured, it is good there for runs as long as those of training.
    """
    problem = card["config"]["problem"]
    until = {name: _last_gain(result) for name, result in results.items()}
    steps = until.pop(problem, None) or horizon(card)
    kind = f"networks like that of {problem}" if card["data"] else f"problems like those of {problem}"
    others: dict[int, list[str]] = {}
    for name, step in sorted(until.items()):
        if step and (step < results[name]["at"][-1]["step"] or (problem not in results and step > steps)):
            others.setdefault(step, []).append(name)
    exceptions = [f"; on {', '.join(names)} for up to {step:,}" for step, names in sorted(others.items())]
    return f"{kind}, for up to {steps:,} steps{''.join(exceptions)}"


def _last_gain(result: Mapping[str, Any]) -> int | None:
    """The first step whose mean loss is within a twentieth of the lowest; None where all runs diverged."""
    measured = [at for at in result["at"] if at["mean"] is not None]
    lowest = min((at["mean"] for at in measured), default=0.0)
    return next((at["step"] for at in measured if at["mean"] < lowest + 0.05), None)


def runs(card: Card) -> str:
    """`runs of up to 500 steps`, or that their lengths were drawn."""
    if any(card["config"].get(f"long_tail_{unit}") for unit in ("windows", "steps")):
        return "runs of random length"
    return f"runs of up to {horizon(card):,} steps"


def horizon(card: Card) -> int:
    """The longest run that these weights have been trained on, or, of random lengths, validated on."""
    config, kept = card["config"], kept_validation(card)
    if not config["curriculum"]:
        return int(config["num_steps"])
    return int(config["curriculum_steps"].split(",")[kept["stage"] if kept else 0])


def kept_validation(card: Card) -> Mapping[str, Any] | None:
    """The validation of the weights that were kept: the best of the last stage that beat its baseline.

    The first validation of each later stage is that baseline, of the weights with which the stage began. Stages are
    validated over runs of different lengths, so their costs do not compare.
    """
    stages: dict[int, list] = {}
    for validation in card["validation"]:
        if validation["cost"] is not None:
            stages.setdefault(validation["stage"], []).append(validation)
    kept = None
    for stage, validations in sorted(stages.items()):
        best = min(validations, key=lambda validation: validation["cost"])
        if stage == 0 or best is not validations[0]:
            kept = best
    return kept


def _endings(results: Mapping[str, Any]) -> str:
    """`after 10,000 steps mnist -6.02 ± 2.75, mnist_relu ...; after 2,000 lenet ...`."""
    ends: dict[int, list[str]] = {}
    for problem, result in sorted(results.items()):
        end = result["at"][-1]
        ends.setdefault(end["step"], []).append(f"{problem} {summary.format_cell(end) or 'diverged'}")
    return "; ".join(f"after {step:,} steps {', '.join(cells)}" for step, cells in sorted(ends.items(), reverse=True))
