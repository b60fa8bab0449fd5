"""Finds optimizers by what a user types: a shipped name, an analytic rule, a folder, or the original's weights.

`find` reads files and runs nothing. `make` makes what was found, once its sizes and its code have been checked.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from l2o_tf.common import descriptions, names
from l2o_tf.common.names import pretrained_names
from l2o_tf.common.quoting import cut, differences, few, reason
from l2o_tf.optimizers import ANALYTIC, CELLS, Optimizer, make_optimizer, outline
from l2o_tf.saving import CARD, WEIGHTS, tensorflow1
from l2o_tf.saving.original import import_original
from l2o_tf.saving.weights import Arrays, assign_weights, check_shapes, load_weights
from problems.base import require_name
from problems.common import python_files
from problems.common.python_files import is_file

_KERAS = (".keras", ".h5", ".hdf5")


class Found(NamedTuple):
    """A trained optimizer as its files describe it. Nothing of it has been made or run."""

    card: Mapping[str, Any]
    weights: Arrays
    name: str  # that it will have
    where: str  # what errors about the card name: the file, if there is one


def load(name: str, *, allow_code: bool = False) -> Optimizer:
    """The optimizer of that name, for the unroll, for further training, or for Keras's `LearnedOptimizer`.

    Args:
        name: a shipped name, an analytic rule such as `"Adam:0.003"`, the folder of a run, or a weight file.
        allow_code: whether Python code beside the weights may run. Default False.

    Raises:
        ValueError: as `load_optimizer`.

    Example:
        >>> import l2o_tf
        >>> l2o_tf.load("RNNprop-CL-IL").kind, l2o_tf.load("Adam:0.003").kind
        ('RNNprop', 'adam')
    """
    return load_optimizer(name, allow_code=allow_code)[0]


def is_analytic(name: str) -> bool:
    """Whether this is a rule designed by hand: `"Adam"`, `"Adam:0.003"`."""
    return name.partition(":")[0].lower() in ANALYTIC


def load_optimizer(
    name: str, learning_rate: float | None = None, *, allow_code: bool = False
) -> tuple[Optimizer, Mapping[str, Any]]:
    """Loads an optimizer and its card.

    Args:
        name: a shipped name (`"L2O-DM"`), an analytic one in any case (`"Adam"`), with its learning rate if need be
            (`"Adam:0.003"`), a folder with `weights.npz` and `optimizer.json`, either of these files, or a weight file
            of the original program (`cw.l2l-0`, or the same as `.npz`). The optimizer is given this name, with a space
            for the colon; a weight file of the original is named after the file, or the folder where the file is
            called as all of them are: `dm_cl (original)`.
        learning_rate: of an analytic optimizer whose name has none; default (None): its own.
        allow_code: as in `load`.

    Returns:
        The optimizer, and its card; for an analytic one, its kind and what was given.

    Raises:
        ValueError: if there is no such optimizer, its weights are damaged or of another architecture, or it has code
            that is not allowed; the error names the file.
    """
    require_name("optimizer", name)
    if is_analytic(name):
        return _from_rule(name, learning_rate)
    found = find(name, rules=[rule.capitalize() for rule in ANALYTIC])
    return make(found, allow_code=allow_code), found.card


def find(name: str, *, rules: Sequence[str] = ()) -> Found:
    """Reads the files of an optimizer that has weights; a ValueError if there is none, or they are damaged.

    Args:
        name: as in `load_optimizer`, but no analytic rule.
        rules: names of analytic rules that an error suggests, too.
    """
    path, known = Path(name), [*pretrained_names(), *rules]
    expected = f"expected one of {known}, the folder of a run, or a weight file of the original program."
    if is_analytic(name):
        raise ValueError(f"Received {name}, an analytic rule, which has no weights, {expected}")
    if os.path.isfile(names.PRETRAINED / name / WEIGHTS):
        path = names.PRETRAINED / name
    if name and (os.path.isdir(path) or (path.name in (WEIGHTS, CARD) and os.path.isfile(path.parent / CARD))):
        folder = path if os.path.isdir(path) else path.parent
        return Found(*load_weights(folder), name, str(folder / CARD))
    if path.suffix not in _KERAS and (os.path.isfile(path) or tensorflow1.files(path)):
        return _in_original(path)
    what, hint = "", ""
    if os.path.exists(name):
        what = ", a saved Keras model" if path.suffix in _KERAS else ", which is no regular file"
    elif os.sep in name:
        what = ", where there is nothing"
    else:
        hint = names.hint(name, known)
    raise ValueError(f"Received optimizer {cut(name, 300)!r}{what}, {expected}{hint}")


def find_ours(name: str) -> Found:
    """As `find`, but refuses a weight file of the original program, whose card does not describe it."""
    found = find(name)
    if "weights" not in found.card:
        raise ValueError(
            f"Received {name}, which has no weights of ours, expected a shipped name or the folder of a run."
        )
    return found


def make(found: Found, *, allow_code: bool = False) -> Optimizer:
    """Makes the optimizer that a card describes, with its weights, if the sizes of both agree.

    Raises:
        ValueError: if there is no such optimizer, the weights are not of its architecture, or it has code that is not
            allowed.
    """
    shapes = _described(outline, found).shapes
    received = {key: value.shape for key, value in found.weights.items()}
    if not shapes.items() <= received.items():  # those of cells in files are unknown yet
        check_shapes(received, shapes, found.name)
    _check_code(found, allow_code)
    optimizer = _described(make_optimizer, found)
    optimizer.name = found.name
    assign_weights(optimizer, found.weights)
    return optimizer


def architecture_of(name: str, *, allow_code: bool = False) -> tuple[str, dict[str, Any]]:
    """What `make_optimizer` takes to make another optimizer like this one: the kind, and all arguments.

    Args:
        name: as in `find`.
        allow_code: whether the kind may be the code that was kept beside the weights.

    Raises:
        ValueError: if there is no such optimizer, or it has code that is not allowed.
    """
    found = find(name)
    architecture = _described(outline, found).architecture
    _check_code(found, allow_code)
    return found.card["optimizer"], architecture


def begin_with(student: Optimizer, name: str) -> None:
    """Gives a student the weights of a trained optimizer, to be trained further. Runs no code beside the weights.

    The student keeps its own arguments, such as an output scale; a warning lists those that differ.

    Raises:
        ValueError: if there is no such optimizer, or it is of another kind or of other sizes.
    """
    found = find(name)
    kind = found.card["optimizer"]
    if not _alike(kind, student.kind):
        raise ValueError(
            f"Received --initial_weights={name}, which is of the architecture {cut(kind, 300)}, for {student.kind}. "
            f"Use {cut(_asking_for(found.card), 300)}, or other weights."
        )
    assign_weights(student, found.weights)
    if different := different_arguments(_described(outline, found).architecture, student.architecture, "there", "here"):
        logging.warning("%s was trained with other arguments: %s.", name, few(different))


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


def different_arguments(one: Mapping[str, Any], two: Mapping[str, Any], first: str, second: str) -> list[str]:
    """A clause for each argument that differs between two architectures and matters to trained weights."""
    mattering = ({key: value for key, value in each.items() if key not in _OF_STARTS} for each in (one, two))
    return differences(*mattering, first, second)


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


def _in_original(path: Path) -> Found:
    weights = import_original(path)
    shapes = {key: value.shape for key, value in weights.items()}
    for architecture in CELLS:
        if outline(architecture).shapes == shapes:
            name = f"{path.stem if path.suffix == '.npz' else path.absolute().parent.name} (original)"
            return Found({"optimizer": architecture, "imported_from": path.name}, weights, name, str(path))
    raise ValueError(
        f"Received {path} with weights {few([f'{cut(key)} {shape}' for key, shape in shapes.items()])}, which fit none "
        f"of the architectures {sorted(CELLS)}."
    )


def _check_code(found: Found, allow_code: bool) -> None:
    """Refuses a card that names code, unless the user has allowed that."""
    if not isinstance(allow_code, bool):
        raise ValueError(f"Received allow_code={allow_code!r}, expected True or False.")
    if allow_code:
        return
    card = found.card
    files = {python_files.path(kind).name for kind in descriptions.files(card["optimizer"], card.get("architecture"))}
    if files:
        told = few([f"{file} (SHA-256 {card['sources'][file]})" for file in sorted(files)])
        raise ValueError(
            f"Received {found.name}, whose optimizer is Python code beside its weights, which would be run: {told}. "
            "Read it. If you trust it, pass --allow_code (in Python: allow_code=True)."
        )


def _described(make: Callable, found: Found) -> Any:
    """What `make_optimizer` makes of a card, or `outline`, which makes nothing."""
    card = found.card
    try:
        return make(card["optimizer"], {} if "imported_from" in card else dict(card["architecture"]))
    except Exception as error:  # Whatever a card's arguments lead to, it is the card's fault.
        raise ValueError(
            f"Received {found.where}, whose optimizer and architecture cannot be made ({reason(error)}). Expected "
            "those that a run of this program writes."
        ) from error
