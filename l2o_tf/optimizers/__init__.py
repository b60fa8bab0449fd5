"""All optimizers by name: architectures that learn, and rules designed by hand."""

import difflib
from collections.abc import Callable

import keras

from l2o_tf.optimizers.analytic import ANALYTIC
from l2o_tf.optimizers.base import Analytic, LearnedOptimizer, Optimizer
from l2o_tf.optimizers.dm import DMCell

CELLS: dict[str, Callable[..., keras.layers.Layer]] = {"L2O-DM": DMCell}
"""Architectures of learned optimizers: Keras RNN cells."""

__all__ = ["ANALYTIC", "CELLS", "Analytic", "LearnedOptimizer", "Optimizer", "make_learned_optimizer"]


def make_learned_optimizer(architecture: str, **options) -> LearnedOptimizer:
    """A new learned optimizer with initial weights.

    Args:
        architecture: a name in `CELLS`, e.g. `"L2O-DM"`.
        **options: arguments of the cell.

    Raises:
        ValueError: for an unknown name.
    """
    if architecture not in CELLS:
        close = difflib.get_close_matches(architecture, CELLS, n=3, cutoff=0.3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"Received optimizer={architecture!r}, expected one of {sorted(CELLS)}.{hint}")
    return LearnedOptimizer(CELLS[architecture](**options), name=architecture)
