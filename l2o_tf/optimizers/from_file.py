"""Architectures of the user's own, by `path/to/file.py:Cell`: what `--optimizer` takes besides a name.

`Cell` is a Keras RNN cell, as `CoordinatewiseOptimizer` runs it: a `keras.layers.Layer` whose inputs are gradients
`[N, 1]` and whose outputs are updates `[N, 1]`. `--architecture` sets the arguments of its constructor; what
`get_config` returns is stored with the weights and handed to `from_config`. Where the constructor takes a `seed`, it
gets the run's.
"""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from l2o_tf.optimizers import contract
from problems import from_file
from problems.user_errors import describe

_WHAT = "path/to/file.py:Cell"


def own_class(name: str) -> type[keras.layers.Layer]:
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


def initial_architecture(name: str, seed: int, given: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Arguments of a new cell: those that are given, and the seed, if it takes one.

    Raises:
        ValueError: as `own_class`, or if the constructor needs further arguments.
    """
    parameters = inspect.signature(own_class(name)).parameters
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [each.name for each in parameters.values() if each.default is each.empty and each.kind not in optional]
    missing = [each for each in needed if each not in given and each != "seed"]
    if missing:
        entries = ",".join(f"{each}=..." for each in missing)
        raise ValueError(
            f"Received optimizer {name!r}, whose constructor needs {missing}; pass --architecture={entries}, or give "
            "its arguments defaults."
        )
    return {**given, **({"seed": seed} if "seed" in parameters else {})}


def make_cell(name: str, architecture: Mapping[str, Any]) -> keras.layers.Layer:
    """The cell, built and tried once.

    Raises:
        ValueError: as `own_class` and `contract.check` do, or if the constructor refuses the arguments.
    """
    kind = own_class(name)
    try:
        cell = kind.from_config(dict(architecture))
    except Exception as error:  # the user's code
        raise ValueError(f"Received optimizer {name!r}, whose constructor raised {describe(error)}.") from error
    contract.check(cell, name)
    return cell


def _is_layer(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, keras.layers.Layer)
