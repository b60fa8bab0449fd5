"""All optimizers by name: architectures that learn, rules designed by hand, and assignments of both."""

from collections.abc import Mapping
from typing import Any

import keras

from l2o_tf import names
from l2o_tf.optimizers.analytic import ANALYTIC
from l2o_tf.optimizers.assigned import Assigned
from l2o_tf.optimizers.base import Analytic, LearnedOptimizer, Optimizer
from l2o_tf.optimizers.dm import DMCell
from l2o_tf.optimizers.rnnprop import RNNpropCell

CELLS: dict[str, type[keras.layers.Layer]] = {"L2O-DM": DMCell, "RNNprop": RNNpropCell}
"""Architectures of learned optimizers: Keras RNN cells."""

__all__ = ["ANALYTIC", "CELLS", "Analytic", "Assigned", "LearnedOptimizer", "Optimizer", "make_optimizer"]


def make_optimizer(kind: str, architecture: Mapping[str, Any] | None = None) -> Optimizer:
    """Makes an optimizer; a learned one has initial weights.

    `make_optimizer(optimizer.kind, optimizer.architecture)` makes another one like `optimizer`.

    Args:
        kind: an architecture (`"L2O-DM"`), a rule (`"adam"`) or `"assigned"`.
        architecture: arguments of the cell, of the rule, or `{"assignments": [[pattern, kind, architecture], ...]}`.
            Default: none.

    Raises:
        ValueError: for an unknown kind.
    """
    architecture = dict(architecture or {})
    if kind == "assigned" and "assignments" in architecture:
        return Assigned([(pattern, make_optimizer(*entry)) for pattern, *entry in architecture["assignments"]])
    if kind in CELLS:
        return LearnedOptimizer(CELLS[kind].from_config(architecture), kind)
    if kind in ANALYTIC:
        optimizer = ANALYTIC[kind](**architecture)
        optimizer.architecture = architecture
        return optimizer
    known = [*CELLS, *ANALYTIC]
    raise ValueError(f"Received optimizer {kind!r}, expected one of {known}.{names.hint(kind, known)}")
