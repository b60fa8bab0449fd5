"""All optimizers by name: architectures that learn, rules designed by hand, and assignments of both."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from l2o_tf.common import keras_backend, names
from l2o_tf.common.quoting import short
from l2o_tf.optimizers import from_file
from l2o_tf.optimizers.analytic import ANALYTIC
from l2o_tf.optimizers.base import Analytic, CoordinatewiseOptimizer, HierarchicalOptimizer, Optimizer, Step
from l2o_tf.optimizers.combined import FROZEN, Assigned
from l2o_tf.optimizers.lstm.dm import DMCell
from l2o_tf.optimizers.lstm.rnnprop import RNNpropCell
from l2o_tf.optimizers.scale.cell import ScaleCell
from problems.base import make_seed, require_name
from problems.common.python_files import is_file
from problems.common.user_errors import describe

keras_backend.check()

COORDINATEWISE: dict[str, type[keras.layers.Layer]] = {"L2O-DM": DMCell, "RNNprop": RNNpropCell}
"""Architectures that treat every coordinate apart; `CoordinatewiseOptimizer` runs their cells."""

HIERARCHICAL: dict[str, type[keras.layers.Layer]] = {"L2O-Scale": ScaleCell}
"""Architectures that know which coordinates form a tensor; `HierarchicalOptimizer` runs their cells."""

CELLS: dict[str, type[keras.layers.Layer]] = COORDINATEWISE | HIERARCHICAL
"""All architectures of learned optimizers."""

_ASSIGNMENTS = "{'assignments': [[pattern, kind, architecture], ...]}"

__all__ = [
    "ANALYTIC",
    "CELLS",
    "COORDINATEWISE",
    "FROZEN",
    "HIERARCHICAL",
    "L2ODM",
    "Analytic",
    "Assigned",
    "CoordinatewiseOptimizer",
    "HierarchicalOptimizer",
    "L2OScale",
    "Optimizer",
    "Outline",
    "RNNprop",
    "Step",
    "make_optimizer",
    "outline",
]


def make_optimizer(kind: str, architecture: Mapping[str, Any] | None = None) -> Optimizer:
    """Makes an optimizer from its kind and the arguments of its constructor. A learned one has initial weights.

    `make_optimizer(optimizer.kind, optimizer.architecture)` makes another one like `optimizer`.

    Args:
        kind: an architecture (`"L2O-DM"`), a class of the user's own (`"path/to/file.py:Class"`), a rule (`"adam"`) or
            `"assigned"`.
        architecture: arguments of the constructor, or `{"assignments": [[pattern, kind, architecture], ...]}`,
            where the kind may also be `"frozen"`. Default: none.

    Raises:
        ValueError: for an unknown kind, an argument that it does not have, or a value that its constructor refuses.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.make_optimizer("L2O-DM", {"layers": [8], "seed": 0}).architecture["layers"]
        (8,)
    """
    require_name("optimizer", kind)
    if not isinstance(architecture, Mapping | None):
        raise ValueError(f"Received {architecture!r} as architecture of {kind}, expected a dict of arguments.")
    try:
        return _made(kind, dict(architecture or {}))
    except TypeError as error:
        factory = ANALYTIC.get(kind) or CELLS.get(kind)
        options = inspect.signature(factory).parameters.values() if factory else ()
        known = [option.name for option in options if option.kind is not option.VAR_KEYWORD]
        raise ValueError(
            f"Received optimizer {kind!r} with {dict(architecture)}: {describe(error)}, "
            f"expected {known or _ASSIGNMENTS}."
        ) from error


def _made(kind: str, architecture: dict[str, Any]) -> Optimizer:
    if kind == "assigned":
        if set(architecture) != {"assignments"}:
            raise ValueError(f"Received optimizer 'assigned' with {architecture}, expected {_ASSIGNMENTS}.")
        return Assigned([(pattern, _assignee(*entry)) for pattern, *entry in architecture["assignments"]])
    if kind in CELLS:
        run = CoordinatewiseOptimizer if kind in COORDINATEWISE else HierarchicalOptimizer
        return run(_cell(CELLS[kind], architecture), kind)
    if is_file(kind):
        return from_file.make(kind, architecture)
    if kind in ANALYTIC:
        optimizer = ANALYTIC[kind](**architecture)
        optimizer.architecture = architecture
        return optimizer
    known = [*CELLS, *ANALYTIC]
    raise ValueError(f"Received optimizer {kind!r}, expected one of {known}.{names.hint(kind, known)}")


def _assignee(kind: str, architecture: Mapping[str, Any] | None = None) -> Optimizer:
    """An optimizer of some of the parameters: any, or none."""
    return FROZEN if kind == FROZEN.kind else make_optimizer(kind, architecture)


def L2ODM(seed: int = 0, **architecture: Any) -> Optimizer:
    """L2O-DM (Andrychowicz et al., 2016) with random weights: an LSTM that sees the gradient of each coordinate.

    The arguments are those of `l2o_tf.optimizers.lstm.dm.DMCell`; `seed` is that of the weights.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.L2ODM(seed=1, layers=(4,)).name
        'L2O-DM'
    """
    return make_optimizer("L2O-DM", {"seed": seed, **architecture})


def RNNprop(seed: int = 0, **architecture: Any) -> Optimizer:
    """RNNprop (Lv et al., 2017) with random weights: an LSTM that sees what Adam sees of each coordinate.

    The arguments are those of `l2o_tf.optimizers.lstm.rnnprop.RNNpropCell`; `seed` is that of the weights.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.RNNprop(layers=(4,)).name
        'RNNprop'
    """
    return make_optimizer("RNNprop", {"seed": seed, **architecture})


def L2OScale(seed: int = 0, **architecture: Any) -> Optimizer:
    """L2O-Scale (Wichrowska et al., 2017) with random weights: recurrent units per coordinate, per tensor, and for all.

    The arguments are those of `l2o_tf.optimizers.scale.cell.ScaleCell`; `seed` is that of the weights.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.L2OScale(levels=(4, 3, 5)).name
        'L2O-Scale'
    """
    return make_optimizer("L2O-Scale", {"seed": seed, **architecture})


class Outline(NamedTuple):
    """What an optimizer is made of, before a weight is made.

    Attributes:
        architecture: all arguments with their defaults; for assignments, as they were given.
        shapes: of the meta-parameters by name, except for cells in files, whose code would have to run.
    """

    architecture: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


def outline(kind: str, architecture: Mapping[str, Any] | None = None) -> Outline:
    """Describes what `make_optimizer` would make; raises as it does, or TypeError."""
    architecture = dict(architecture or {})
    if kind in CELLS:
        cell = _cell(CELLS[kind], architecture)
        return Outline(cell.get_config(), {name: tuple(weight.shape) for name, weight in cell.table().items()})
    if kind != "assigned":
        return Outline(architecture, {})
    parts = [outline(*entry).shapes for _, *entry in architecture["assignments"]]
    return Outline(architecture, {f"{i}/{name}": shape for i, part in enumerate(parts) for name, shape in part.items()})


def _cell(cell: type[keras.layers.Layer], architecture: dict[str, Any]) -> keras.layers.Layer:
    """A cell from its arguments.

    Only plain values are allowed: from a dictionary, Keras would make any object that it describes. Keras wraps errors
    of the constructor into many lines; here the original error is raised.
    """
    if (seed := architecture.get("seed")) is not None:
        make_seed(seed)
        architecture = {**architecture, "seed": int(seed)}
    dtype = architecture.get("dtype")
    if isinstance(dtype, Mapping):
        architecture = {**architecture, "dtype": dtype["config"]["name"]}
    if any(isinstance(value, Mapping) for value in architecture.values()):
        raise ValueError(f"Received an architecture with {short(architecture)}, expected numbers, texts and lists.")
    try:
        return cell.from_config({"dtype": "float32", **architecture})
    except TypeError as error:
        if isinstance(error.__context__, ValueError):
            raise error.__context__ from None
        raise
