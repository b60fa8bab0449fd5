"""Writes the model card, the results and the drift of every trained optimizer that ships, from its records alone.

    python -m docs.cards --results=experiments/results    # CARD.md, results.json and drift.json beside the weights

A result counts if it is of these very weights: one whose meta-training is another is left out. `drift.json` has what
`l2o_tf.saving.drift` measures.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l2o_tf.cli.config import resolve
from l2o_tf.common import summary
from l2o_tf.common.names import PRETRAINED, pretrained_names
from l2o_tf.common.reading import read_json
from l2o_tf.common.writing import write_atomically
from l2o_tf.evaluating.results import read_file
from l2o_tf.saving import CARD, drift
from l2o_tf.saving.loading import load
from l2o_tf.saving.validations import kept_validation
from problems.common import closed_pipe

RESULTS = "results.json"
DRIFT = "drift.json"
PAGE = "CARD.md"

Card = Mapping[str, Any]


def read(name: str) -> tuple[Card, dict[str, Any], dict[str, Any]]:
    """Of a shipped optimizer: `optimizer.json`, `results.json`, `drift.json`; {} where there is none."""
    paths = (PRETRAINED / name / file for file in (CARD, RESULTS, DRIFT))
    card, results, drifts = (read_json(path) if path.exists() else {} for path in paths)
    return card, results, drifts


def page(name: str, card: Card, results: Mapping[str, Any], drifts: Mapping[str, Any]) -> str:
    """The model card, Markdown."""
    made, problem = card["provenance"], card["config"]["problem"]
    what, example = ("one kind of problem", problem) if card["data"] else (f"the problems of {problem}", "mnist")
    lines = [
        f"# {name}",
        "",
        f"    trained on {trained_on(card)}",
        f"    good for   {good_for(card, results)}; unknown elsewhere",
        f"    ln loss    {_endings(results) or 'not measured yet'}",
        "",
        f"An optimizer of architecture {card['optimizer']}:",
        "",
        f"    model.compile(optimizer=l2o_tf.LearnedOptimizer({name!r}), ...)",
        f"    python evaluate.py --optimizer={name} --problem={example}",
        "",
        "## Measured",
        *(_table(results) or ["Nothing yet."]),
        "",
        "## Limits",
        f"Trained on {what}, in {runs(card)}. Longer runs and other models are",
        "extrapolation: where the table has no row, nothing is known. There is no learning rate to tune; that of",
        f"`LearnedOptimizer` scales the updates, 1 being what was measured{_as_trained(card)}.",
        "",
        "## Without a gradient",
        *_drift(drifts),
        "",
        "## Made by",
        *_commands(card),
        "",
        "## Provenance",
        _data(card),
        f"- Made {_when(made)}, seed {card['config']['seed']}, in {card['wall_seconds'] / 60:,.0f} minutes; "
        f"{card['diverged_meta_epochs']} meta-epochs diverged.",
        *(
            f"- {key.capitalize()} {_when(card[key]['provenance'])}."
            for key in ("interpolated", "adjusted")
            if key in card
        ),
        _validated(card),
        f"- {', '.join(f'{key} {value}' for key, value in made['versions'].items())}.",
        f"- SHA-256 of the weights: {card['weights']['sha256']}.",
    ]
    return "\n".join(lines) + "\n"


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


def _endings(results: Mapping[str, Any]) -> str:
    """`after 10,000 steps mnist -6.02 ± 2.75, mnist_relu ...; after 2,000 lenet ...`."""
    ends: dict[int, list[str]] = {}
    for problem, result in sorted(results.items()):
        end = result["at"][-1]
        ends.setdefault(end["step"], []).append(f"{problem} {summary.format_cell(end) or 'diverged'}")
    return "; ".join(f"after {step:,} steps {', '.join(cells)}" for step, cells in sorted(ends.items(), reverse=True))


def _drift(measured: Mapping[str, Any]) -> list[str]:
    """What `l2o_tf.saving.drift` found."""
    if not measured:
        return ["Not measured yet."]
    never, ended = (drift.Quiet(**measured[case]) for case in drift.Drift._fields)
    sizes = f"{min(drift.SIZES):g} to {max(drift.SIZES):g}"
    return [
        f"A parameter that never has a gradient is moved by up to {never.moved:.2g} in {drift.QUIET:,} steps; "
        f"{_ending(never)}.",
        f"One that has had gradients of {sizes} for {drift.SEEN} steps is moved by up to {ended.moved:.2g} in the "
        f"{drift.QUIET:,} steps after them; {_ending(ended)}.",
    ]


def _ending(quiet: drift.Quiet) -> str:
    return "it comes to rest" if quiet.last <= drift.REST else f"it drifts on, by up to {quiet.last:.2g} a step"


def _when(made: Mapping[str, Any]) -> str:
    return f"{made['date'][:10]} at commit {(made['commit'] or 'unknown')[:10]}"


def _as_trained(card: Card) -> str:
    factor = card.get("adjusted", {}).get("factor", 1.0)
    return "" if factor == 1 else f", and {1 / factor:.3g} the length of its training"


def collect(card: Card, folder: Path, name: str) -> dict[str, Any]:
    """What result files of reproduce.py say of these very weights."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        result = read_file(path)
        if result["optimizer"] == name and _identity(result.get("meta_training") or {}) == _identity(card):
            found[result["problem"]] = {"data": result["data"], **result["summary"]}
    return found


def _identity(card: Mapping[str, Any]) -> tuple:
    """What tells an optimizer from others of its architecture: its weights, and how it was adjusted besides them."""
    adjusted = card.get("adjusted") or {}
    return (card.get("weights") or {}).get("sha256"), adjusted.get("factor", 1), adjusted.get("initial_learning_rates")


def _data(card: Card) -> str:
    if not card["data"]:
        return "- Data: none from outside; problems draw their own."
    return f"- Data: {card['data']['name']}/{card['data']['split']}, fingerprint {card['data']['fingerprint']}."


def _validated(card: Card) -> str:
    kept = kept_validation(card)
    if kept is None:
        return "- Never validated."
    before = " before they were adjusted" if "adjusted" in card else ""
    if "interpolated" in card:
        second = card["interpolated"]["between"][1]["name"]
        return f"- These weights were never validated; those of {second} had a validation cost of {kept['cost']:.3g}."
    return f"- These are the weights after {kept['epoch']:,} meta-epochs; validation cost {kept['cost']:.3g}{before}."


def _commands(card: Card) -> list[str]:
    """What was typed: the options that are not those of the preset."""
    commands, folder = [f"    python meta_train.py {' '.join(options(card['config']))}"], None
    if "interpolated" in card:
        names, folder = " ".join(end["name"] for end in card["interpolated"]["between"]), "FOLDER"
        share = card["interpolated"]["share"]
        commands.append(f"    python -m l2o_tf.cli.weights interpolate {names} --share={share} --output={folder}")
    if "adjusted" in card:
        adjusted = card["adjusted"]
        flags = [f"--factor={adjusted['factor']:g}"] if adjusted["factor"] != 1 else []
        flags += ["--no_drift"] if adjusted["no_drift"] else []
        if rates := adjusted.get("initial_learning_rates"):
            flags.append(f"--initial_learning_rates={','.join(f'{rate:g}' for rate in rates)}")
        name = folder or adjusted["from"]["name"]
        commands.append(f"    python -m l2o_tf.cli.weights adjust {name} {' '.join(flags)} --output=ADJUSTED")
    return commands


def options(config: Mapping[str, Any]) -> list[str]:
    """The command line, `["--optimizer=L2O-DM", ...]`, that asks for a configuration of a card or a run.

    An option that such an older configuration does not have yet has its default.
    """
    usual = resolve({name: config[name] for name in ("preset", "optimizer")}).to_dict()
    always = ("optimizer", "problem", "seed")
    given = {name: config.get(name, value) for name, value in usual.items() if name not in ("data", "data_dir")}
    return [
        (f"--{name}" if value else f"--no{name}") if isinstance(value, bool) else f"--{name}={value}"
        for name, value in given.items()
        if name in always or value != usual[name]
    ]


def _table(results: Mapping[str, Any]) -> list[str]:
    """A Markdown table of results; no lines where there are none."""
    if not results:
        return []
    steps = sorted({at["step"] for result in results.values() for at in result["at"]})
    lines = [
        "ln of the mean of the 50 losses that end at the step, mean ± standard deviation over runs.",
        "",
        f"| problem | runs | {' | '.join(f'{step:,}' for step in steps)} | diverged |",
        "|---|---|" + "---|" * (len(steps) + 1),
    ]
    for problem, result in sorted(results.items()):
        found = {at["step"]: summary.format_cell(at) for at in result["at"]}
        cells = [found.get(step, "") for step in steps]
        lines.append(f"| {problem} | {result['runs']} | {' | '.join(cells)} | {result['at'][-1]['diverged']:.0%} |")
    for data in dict.fromkeys(result["data"] for result in results.values()):
        own = ", ".join(sorted(problem for problem, result in results.items() if result["data"] == data))
        lines += ["", f"Data of {own}: {data}."]
    return lines


def main(given: list[str] | None = None) -> None:
    """Writes results, drift and card of every shipped optimizer."""
    parser = argparse.ArgumentParser(
        "python -m docs.cards",
        description="Writes CARD.md, results.json and drift.json in l2o_tf/pretrained/*.",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("experiments/results"), help="result files of reproduce.py"
    )
    values = parser.parse_args(given)
    for name in pretrained_names():
        card = read(name)[0]
        results = collect(card, values.results, name)
        drifts = {case: quiet._asdict() for case, quiet in drift.measure(load(name))._asdict().items()}
        for file, content in ((DRIFT, drifts), (RESULTS, results)):
            write_atomically(PRETRAINED / name / file, json.dumps(content, indent=2).encode() + b"\n")
        write_atomically(PRETRAINED / name / PAGE, page(name, card, results, drifts).encode())
        print(PRETRAINED / name / PAGE)


if __name__ == "__main__":
    closed_pipe.install()
    main()
