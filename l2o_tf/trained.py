"""Optimizers by what a user types: a shipped name, an analytic rule, the folder of a run, or the original's weights."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from l2o_tf import architectures, checkpoint, names
from l2o_tf.checkpoint import CARD, WEIGHTS, tensorflow1
from l2o_tf.config import FIELDS
from l2o_tf.optimizers import ANALYTIC, CELLS, Assigned, Optimizer, make_optimizer
from problems.base import require_name

PRETRAINED = Path(__file__).parent / "pretrained"


def pretrained_names() -> list[str]:
    """Names of the trained optimizers that ship with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{WEIGHTS}"))


def load(name: str) -> Optimizer:
    """The optimizer of that name; see `load_optimizer`, which also gives its card."""
    return load_optimizer(name)[0]


def is_analytic(name: str) -> bool:
    """Whether `load_optimizer` would take this for a rule designed by hand: `"Adam"`, `"Adam:0.003"`."""
    return name.partition(":")[0].lower() in ANALYTIC


def wants_learning_rate(name: str) -> bool:
    """Whether this is a rule without a learning rate of its own: `"Adam"`, not `"Adam:0.003"`."""
    return is_analytic(name) and ":" not in name


def kinds(card: Mapping[str, Any]) -> list[str]:
    """Kinds of the optimizers that a card describes: one, or one for each entry of `net_assignments`."""
    assigned = card.get("architecture", {}).get("assignments", [])
    return [kind for _, kind, _ in assigned] or [card["optimizer"]]


def load_optimizer(
    name: str, learning_rate: float | None = None, *, analytic: bool = True
) -> tuple[Optimizer, dict[str, Any]]:
    """Finds an optimizer.

    Args:
        name: a shipped name (`"L2O-DM"`), an analytic one in any case (`"Adam"`), with its learning rate if need be
            (`"Adam:0.003"`), a folder with `weights.npz` and `optimizer.json`, either of these files, or a weight file
            of the original program (`cw.l2l-0`, or the same as `.npz`). The optimizer is given this name, with a space
            for the colon; a weight file of the original is named after the file, or the folder where the file is
            called as all of them are: `dm_cl (original)`.
        learning_rate: of an analytic optimizer whose name has none; default (None): its own.
        analytic: whether errors name the rules designed by hand among what was expected.

    Returns:
        The optimizer, and its card; for an analytic one, its name and what was given.

    Raises:
        ValueError: if there is no such optimizer, or its weights are damaged or of another architecture.
    """
    require_name("optimizer", name)
    if is_analytic(name):
        return _from_rule(name, learning_rate)
    path = Path(name)
    if (PRETRAINED / name / WEIGHTS).is_file():
        return _from_folder(PRETRAINED / name, name)
    if name and path.is_dir():
        return _from_folder(path, name)
    if path.name in (WEIGHTS, CARD) and (path.parent / CARD).is_file():
        return _from_folder(path.parent, name)
    if path.is_file() or tensorflow1.files(path):
        return _from_original(path)
    known = [*pretrained_names(), *(rule.capitalize() for rule in ANALYTIC if analytic)]
    absent, hint = (", where there is nothing", "") if os.sep in name else ("", names.hint(name, known))
    raise ValueError(
        f"Received optimizer {name!r}{absent}, expected one of {known}, the folder of a run, or a weight file of the "
        f"original program.{hint}"
    )


def with_weights(name: str) -> tuple[Optimizer, dict[str, Any], checkpoint.weights.Weights]:
    """An optimizer with its card and weights, if it is not a rule and not in the original program's form.

    Raises:
        ValueError: if there is no such optimizer, or it has no weights of ours.
    """
    optimizer, card = load_optimizer(name)
    if "weights" not in card:
        raise ValueError(
            f"Received {name}, which has no weights of ours, expected a shipped name or the folder of a run."
        )
    return optimizer, card, checkpoint.named_weights(optimizer)


def options(name: str) -> dict[str, Any]:
    """Which options make an optimizer like that of `--initial_weights`: its kind, and what its architecture is told.

    Args:
        name: as in `load_optimizer`, but of one that has weights.

    Returns:
        Option -> value; empty for several optimizers with assignments, whose options have to be given.

    Raises:
        ValueError: if there is no such optimizer.
    """
    found = _initial(name)
    if isinstance(found, Assigned):
        return {}
    defaults = {option: field.default for option, field in FIELDS.items()}
    return {"optimizer": found.kind, **architectures.options(found.kind, found.architecture, defaults)}


def begin_with(student: Optimizer, name: str) -> None:
    """Gives a student the weights of a trained optimizer, to be trained further.

    What the student is told beyond its shapes, such as an output scale, is its own; a warning says where it differs.

    Args:
        student: of the same kind and sizes.
        name: as in `load_optimizer`, but of one that has weights.

    Raises:
        ValueError: if there is no such optimizer, or it is of another kind or of other sizes.
    """
    found = _initial(name)
    if found.kind != student.kind:
        raise ValueError(
            f"Received --initial_weights={name}, which is of the architecture {found.kind}, for {student.kind}. Use "
            f"{_asking_for(found)}, or other weights."
        )
    checkpoint.assign_weights(student, checkpoint.named_weights(found))
    different = differences(found.architecture, student.architecture)
    if different:
        logging.warning("%s was trained with other arguments (there, here): %s.", name, different)


def _asking_for(optimizer: Optimizer) -> str:
    """The option that asks for an optimizer of this kind."""
    if isinstance(optimizer, Assigned):
        return "--net_assignments=" + ",".join(f"{pattern}={each.kind}" for pattern, each in optimizer.assignments)
    return f"--optimizer={optimizer.kind}"


def _initial(name: str) -> Optimizer:
    """What `--initial_weights` names."""
    if is_analytic(name):
        raise ValueError(
            f"Received --initial_weights={name}, which has none. Expected one of {pretrained_names()}, the folder of a "
            "run, or a weight file of the original program."
        )
    return load_optimizer(name, analytic=False)[0]


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Argument -> its two values, of two architectures of one kind, where they matter to trained weights."""
    return {key: (one[key], other[key]) for key in one.keys() - _OF_STARTS if one[key] != other[key]}


_OF_STARTS = {"name", "seed", "initializer", "projection_stddev", "assignments"}
"""Arguments of an optimizer that do not matter once it has weights, or are compared by shapes alone."""


def _from_rule(name: str, learning_rate: float | None) -> tuple[Optimizer, dict[str, Any]]:
    rule, colon, own = name.partition(":")
    try:
        learning_rate = float(own) if colon else learning_rate
    except ValueError:
        raise ValueError(
            f"Received optimizer {name!r}, expected a learning rate after the colon: {rule}:0.01."
        ) from None
    options = {} if learning_rate is None else {"learning_rate": learning_rate}
    optimizer = make_optimizer(rule.lower(), options)
    optimizer.name = f"{rule} {own}" if colon else rule
    return optimizer, {"optimizer": rule.lower(), "architecture": options}


def _from_folder(folder: Path, name: str) -> tuple[Optimizer, dict[str, Any]]:
    card, weights = checkpoint.load_weights(folder)
    try:
        optimizer = make_optimizer(card["optimizer"], card["architecture"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Received {folder / CARD}, whose optimizer and architecture cannot be made ({error!r}). Expected those "
            "that a run of this program writes."
        ) from error
    optimizer.name = name
    checkpoint.assign_weights(optimizer, weights)
    return optimizer, card


def _from_original(path: Path) -> tuple[Optimizer, dict[str, Any]]:
    weights = checkpoint.import_original(path)
    for architecture in CELLS:
        optimizer = make_optimizer(architecture)
        shapes = {key: tuple(variable.shape) for key, variable in optimizer.named_variables.items()}
        if shapes == {key: value.shape for key, value in weights.items()}:
            checkpoint.assign_weights(optimizer, weights)
            optimizer.name = f"{path.stem if path.suffix == '.npz' else path.absolute().parent.name} (original)"
            return optimizer, {"optimizer": architecture, "imported_from": path.name}
    found = {key: value.shape for key, value in weights.items()}
    raise ValueError(f"Received {path} with weights {found}, which fit none of the architectures {sorted(CELLS)}.")
