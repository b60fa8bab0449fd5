"""Optimizers by what a user types: a shipped name, an analytic rule, the folder of a run, or the original's weights."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from l2o_tf import saving
from l2o_tf.common import descriptions, names
from l2o_tf.common.names import pretrained_names
from l2o_tf.common.quoting import cut, few, reason, short
from l2o_tf.optimizers import ANALYTIC, CELLS, Optimizer, Outline, make_optimizer, outline
from l2o_tf.saving import CARD, WEIGHTS, tensorflow1
from problems import python_files
from problems.base import require_name
from problems.python_files import is_file

_KERAS = (".keras", ".h5", ".hdf5")


def load(name: str, *, allow_code: bool = False) -> Optimizer:
    """The optimizer of that name; see `load_optimizer`, which also gives its card."""
    return load_optimizer(name, allow_code=allow_code)[0]


def is_analytic(name: str) -> bool:
    """Whether `load_optimizer` would take this for a rule designed by hand: `"Adam"`, `"Adam:0.003"`."""
    return name.partition(":")[0].lower() in ANALYTIC


def wants_learning_rate(name: str) -> bool:
    """Whether this is a rule without a learning rate of its own: `"Adam"`, not `"Adam:0.003"`."""
    return is_analytic(name) and ":" not in name


def kinds(card: Mapping[str, Any]) -> list[str]:
    """Kinds of the optimizers that a card describes: one, or one for each entry of `net_assignments`."""
    return descriptions.kinds(card["optimizer"], card.get("architecture"))


def load_optimizer(
    name: str, learning_rate: float | None = None, *, analytic: bool = True, allow_code: bool = False
) -> tuple[Optimizer, dict[str, Any]]:
    """Finds an optimizer.

    Args:
        name: a shipped name (`"L2O-DM"`), an analytic one in any case (`"Adam"`), with its learning rate if need be
            (`"Adam:0.003"`), a folder with `weights.npz` and `optimizer.json`, either of these files, or a weight file
            of the original program (`cw.l2l-0`, or the same as `.npz`). The optimizer is given this name, with a space
            for the colon; a weight file of the original is named after the file, or the folder where the file is
            called as all of them are: `dm_cl (original)`.
        learning_rate: of an analytic optimizer whose name has none; default (None): its own.
        analytic: whether errors list the analytic optimizers, too.
        allow_code: whether Python code that was kept beside weights may run. Default False: a folder with code is
            refused, and the error names the file.

    Returns:
        The optimizer, and its card; for an analytic one, its name and what was given.

    Raises:
        ValueError: if there is no such optimizer, its weights are damaged or of another architecture, or it has code
            that is not allowed.
    """
    require_name("optimizer", name)
    if is_analytic(name):
        return _from_rule(name, learning_rate)
    card, weights, shown = _found(name, analytic=analytic)
    _check_code(name, card, allow_code)
    return made(card, weights, shown), card


def made(card: Mapping[str, Any], weights: saving.weights.Weights, name: str) -> Optimizer:
    """The optimizer that a card describes, with its weights. It is made only if the sizes of both agree.

    Runs the code that the card names: the caller checks before whether that is allowed.

    Raises:
        ValueError: if there is no such optimizer, or the weights are not of its architecture.
    """
    _check_sizes(card, weights, name, name)
    optimizer = _described(make_optimizer, card, name)
    optimizer.name = name
    saving.assign_weights(optimizer, weights)
    return optimizer


def with_weights(name: str, *, allow_code: bool = False) -> tuple[Optimizer, dict[str, Any], saving.weights.Weights]:
    """An optimizer with its card and weights, which this program has saved.

    Raises:
        ValueError: as `load_optimizer`; if it is an analytic one, or a file of the original program.
    """
    optimizer, card = load_optimizer(name, allow_code=allow_code)
    _require_weights(name, card)
    return optimizer, card, saving.named_weights(optimizer)


def read(name: str) -> tuple[dict[str, Any], saving.weights.Weights]:
    """Card and weights as of `with_weights`; runs no code."""
    card, weights, _ = ({}, {}, name) if is_analytic(name) else _found(name, analytic=True)
    _require_weights(name, card)
    return card, weights


def _require_weights(name: str, card: Mapping[str, Any]) -> None:
    if "weights" not in card:
        raise ValueError(
            f"Received {name}, which has no weights of ours, expected a shipped name or the folder of a run."
        )


def architecture_of(name: str, *, allow_code: bool = False) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of the optimizer that `--initial_weights` names.

    Args:
        name: as in `load_optimizer`, but of an optimizer with weights.
        allow_code: whether the kind may be the code that was kept beside the weights.

    Raises:
        ValueError: if there is no such optimizer, or it has code that is not allowed.
    """
    card = _initial(name)[0]
    _check_code(name, card, allow_code)
    return card["optimizer"], _outline(card, name).architecture


def begin_with(student: Optimizer, name: str) -> None:
    """Gives a student the weights of a trained optimizer, to be trained further. Runs no code beside the weights.

    The student keeps its own arguments, such as an output scale; a warning lists those that differ.

    Args:
        student: of the same kind and sizes.
        name: as in `load_optimizer`, but of an optimizer with weights.

    Raises:
        ValueError: if there is no such optimizer, or it is of another kind or of other sizes.
    """
    card, weights = _initial(name)
    kind = card["optimizer"]
    if not _alike(kind, student.kind):
        raise ValueError(
            f"Received --initial_weights={name}, which is of the architecture {cut(kind, 300)}, for {student.kind}. "
            f"Use {cut(_asking_for(card), 300)}, or other weights."
        )
    saving.assign_weights(student, weights)
    different = differences(_outline(card, name).architecture, student.architecture)
    if different:
        logging.warning("%s was trained with other arguments (there, here): %s.", name, short(different))


def _alike(one: str, other: str) -> bool:
    """Whether two kinds are the same. For cells in files, it is the class that counts; other files are a warning."""
    if not (is_file(one) and is_file(other)):
        return one == other
    if python_files.source(python_files.path(one)) != python_files.source(python_files.path(other)):
        logging.warning("%s is another file than that with which the weights were trained, %s.", other, one)
    return one.partition(".py:")[2] == other.partition(".py:")[2]


def _asking_for(card: Mapping[str, Any]) -> str:
    """The option that asks for such an optimizer."""
    if card["optimizer"] == "assigned":
        entries = card["architecture"]["assignments"]
        return "--net_assignments=" + ",".join(f"{pattern}={kind}" for pattern, kind, *_ in entries)
    return f"--optimizer={card['optimizer']}"


def _initial(name: str) -> tuple[dict[str, Any], saving.weights.Weights]:
    """Card and weights that `--initial_weights` names."""
    if is_analytic(name):
        raise ValueError(
            f"Received --initial_weights={name}, which has none. Expected one of {pretrained_names()}, the folder of a "
            "run, or a weight file of the original program."
        )
    return _found(name, analytic=False)[:2]


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Argument -> its two values, for those that differ between two architectures and matter to trained weights."""
    pairs = {key: (_listed(one[key]), _listed(other.get(key))) for key in one.keys() - _OF_STARTS}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _listed(value: Any) -> Any:
    """As JSON returns it."""
    return list(value) if isinstance(value, tuple) else value


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


def _found(name: str, *, analytic: bool) -> tuple[dict[str, Any], saving.weights.Weights, str]:
    """Card, weights and name of an optimizer that is no analytic one. Nothing is made or run."""
    path = Path(name)
    if os.path.isfile(names.PRETRAINED / name / WEIGHTS):
        return _in_folder(names.PRETRAINED / name, name)
    if os.path.isdir(name):
        return _in_folder(path, name)
    if path.name in (WEIGHTS, CARD) and os.path.isfile(path.parent / CARD):
        return _in_folder(path.parent, name)
    if path.suffix not in _KERAS and (os.path.isfile(path) or tensorflow1.files(path)):
        return _in_original(path)
    known = [*pretrained_names(), *(rule.capitalize() for rule in ANALYTIC if analytic)]
    what, hint = "", ""
    if os.path.exists(name):
        what = ", a saved Keras model" if path.suffix in _KERAS else ", which is no regular file"
    elif os.sep in name:
        what = ", where there is nothing"
    else:
        hint = names.hint(name, known)
    raise ValueError(
        f"Received optimizer {cut(name, 300)!r}{what}, expected one of {known}, the folder of a run, or a weight file "
        f"of the original program.{hint}"
    )


def _in_folder(folder: Path, name: str) -> tuple[dict[str, Any], saving.weights.Weights, str]:
    card, weights = saving.load_weights(folder)
    _check_sizes(card, weights, name, folder / CARD)
    return card, weights, name


def _check_sizes(card: Mapping[str, Any], weights: saving.weights.Weights, name: str, where: str | Path) -> None:
    """Compares weights with the shapes that a card describes; those of cells in files are unknown."""
    shapes = _outline(card, where).shapes
    received = {key: value.shape for key, value in weights.items()}
    if not shapes.items() <= received.items():
        saving.check_shapes(received, shapes, name)


def _in_original(path: Path) -> tuple[dict[str, Any], saving.weights.Weights, str]:
    weights = saving.import_original(path)
    shapes = {key: value.shape for key, value in weights.items()}
    for architecture in CELLS:
        if outline(architecture).shapes == shapes:
            name = f"{path.stem if path.suffix == '.npz' else path.absolute().parent.name} (original)"
            return {"optimizer": architecture, "imported_from": path.name}, weights, name
    raise ValueError(
        f"Received {path} with weights {few([f'{cut(key)} {shape}' for key, shape in shapes.items()])}, which fit none "
        f"of the architectures {sorted(CELLS)}."
    )


def _check_code(name: str, card: Mapping[str, Any], allow_code: bool) -> None:
    """Refuses a card that names code, unless the user has allowed that."""
    files = {python_files.path(kind).name for kind in descriptions.files(card["optimizer"], card.get("architecture"))}
    if files and not allow_code:
        told = few([f"{file} (SHA-256 {card['sources'][file]})" for file in sorted(files)])
        raise ValueError(
            f"Received {name}, whose optimizer is Python code beside its weights, which would be run: {told}. Read it. "
            "If you trust it, pass --allow_code (in Python: allow_code=True)."
        )


def _outline(card: Mapping[str, Any], where: str | Path) -> Outline:
    """What a card describes, before anything is made."""
    return _described(outline, card, where)


def _described(make: Callable, card: Mapping[str, Any], where: str | Path) -> Any:
    try:
        return make(card["optimizer"], {} if "imported_from" in card else dict(card["architecture"]))
    except Exception as error:  # Whatever a card's arguments lead to, it is the card's fault.
        raise ValueError(
            f"Received {where}, whose optimizer and architecture cannot be made ({reason(error)}). Expected those that "
            "a run of this program writes."
        ) from error
