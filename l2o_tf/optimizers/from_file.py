"""Architectures of the user's own, by `path/to/file.py:Cell`: what `--optimizer` takes besides a name.

`Cell` is a Keras RNN cell, as `LearnedOptimizer` runs it: a `keras.layers.Layer` whose inputs are gradients `[N, 1]`
and whose outputs are updates `[N, 1]`. Its constructor needs no argument; what `get_config` returns is stored with the
weights and handed to `from_config`. Where it takes a `seed`, it gets the run's.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from problems import from_file

_WHAT = "path/to/file.py:Cell"

is_file = from_file.is_file


def cell_class(name: str) -> type[keras.layers.Layer]:
    """The class called `path/to/file.py:Cell`.

    Raises:
        ValueError: if there is no such file or class, the file cannot be run, or the class is no cell.
    """
    module = from_file.module(name, what=f"optimizer {name!r}", expected=_WHAT)
    found = getattr(module, name.partition(".py:")[2], None)
    if not _is_layer(found):
        own = [key for key, value in vars(module).items() if _is_layer(value) and value.__module__ == module.__name__]
        raise ValueError(f"Received optimizer {name!r}, expected {_WHAT} with one of the layers {own}.")
    base = keras.layers.Layer
    parts = ("get_initial_state", "call", "get_config")
    missing = [part for part in parts if getattr(found, part, None) is getattr(base, part, None)]
    if missing:
        raise ValueError(f"Received optimizer {name!r}, a layer without {missing}; see docs/adding-an-optimizer.md.")
    return found


def initial_architecture(name: str, seed: int) -> dict[str, Any]:
    """Arguments of a new cell: the seed, if it takes one.

    Raises:
        ValueError: as `cell_class`, or if the constructor needs arguments.
    """
    parameters = inspect.signature(cell_class(name)).parameters
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [each.name for each in parameters.values() if each.default is each.empty and each.kind not in optional]
    if needed:
        raise ValueError(f"Received optimizer {name!r}, whose constructor needs {needed}; give its arguments defaults.")
    return {"seed": seed} if "seed" in parameters else {}


def make_cell(name: str, architecture: Mapping[str, Any]) -> keras.layers.Layer:
    """The cell, built and tried once.

    Raises:
        ValueError: as `cell_class`, or if a step on two coordinates raises an error, or does not give an update
            `[2, 1]` and states as they were.
    """
    cell = cell_class(name).from_config(dict(architecture))
    try:
        if not cell.built:
            cell.build((None, 1))
        before = cell.get_initial_state(batch_size=2)
        updates, after = cell(tf.zeros([2, 1]), before)
        found, expected = (_shapes(each) for each in ((updates, after), (tf.zeros([2, 1]), before)))
    except Exception as error:  # the user's code
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        raise ValueError(
            f"Received optimizer {name!r}, of which a step fails ({type(error).__name__}: {reason}); "
            "see docs/adding-an-optimizer.md."
        ) from error
    if found != expected:
        raise ValueError(
            f"Received optimizer {name!r}, whose `call` returns {found} for gradients [2, 1], expected an update and "
            f"states of {expected}; see docs/adding-an-optimizer.md."
        )
    return cell


def _shapes(structure: Any) -> Any:
    """The structure, with a shape in the place of each tensor."""
    return tf.nest.map_structure(lambda tensor: tf.TensorShape(tf.convert_to_tensor(tensor).shape), structure)


def _is_layer(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, keras.layers.Layer)
