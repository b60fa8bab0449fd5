"""Checks an RNN cell once, when an optimizer is made of it: can the cell be a learned optimizer?

The update of a coordinate, a row of the cell's batch, depends on its own gradients only. So the cell takes two steps on
four coordinates, and two steps on three. Two coordinates of both runs have the same gradients, in another order; they
must get the same updates and states. A copy of the cell with other weights is tried, too.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from problems.common.user_errors import describe
from problems.contract import nearly_equal

_SHARED = ([0, 2], [2, 1])
"""Rows of `_FIRST` and of `_SECOND` that are the same coordinate."""
_FIRST = ([0.1, -2.0, 1e-3, 30.0], [0.2, 1.0, -1e-3, 5.0])
_SECOND = ([-0.7, 1e-3, 0.1], [3.0, -1e-3, 0.2])


def check(cell: Any, name: str, dtype: str = "float32") -> None:
    """Builds a cell that is not built yet, and refuses one that cannot be a learned optimizer.

    Args:
        cell: see `CoordinatewiseOptimizer`.
        name: what errors call it.
        dtype: of gradients and updates.

    Raises:
        ValueError: if the cell breaks the contract.
    """
    require_cell(cell, name)
    with of_the_user(name, "of which a step"):
        if not cell.built:
            cell.build((None, 1))
        played = pure(lambda: _play(cell, name, _FIRST, dtype), name)
        _require_rows(name, played, _play(cell, name, _SECOND, dtype))
    again = _made_again(cell, name, dtype)
    for index, weight in enumerate(again.trainable_weights):  # one that is 0 at first may hide that rows are mixed
        noise = tf.random.stateless_normal(weight.shape, [0, index], stddev=0.1)
        weight.assign(weight + tf.cast(noise, weight.dtype))
    with of_the_user(name, "of which a step with other weights"):
        plays = [_play(again, name, gradients, dtype) for gradients in (_FIRST, _SECOND)]
    _require_rows(name, *plays)


def _require_rows(name: str, first: Any, second: Any) -> None:
    shared = (
        tf.nest.map_structure(functools.partial(tf.gather, indices=rows), play)
        for play, rows in zip((first, second), _SHARED, strict=True)
    )
    if not same(*shared):
        raise broken(
            name,
            "which mixes rows: the update or state of a coordinate depends on the other coordinates, or on its place, "
            "expected independent rows",
        )


def require_cell(cell: Any, name: str) -> None:
    """Raises ValueError unless `cell` is a layer with initial states."""
    if not isinstance(cell, keras.layers.Layer):
        raise ValueError(f"Received a {type(cell).__name__} as cell, expected a keras.layers.Layer.")
    if not hasattr(cell, "get_initial_state"):
        raise broken(name, "a layer without `get_initial_state`")


class _Refused(ValueError):
    """An error whose message is already made for the user."""


@contextlib.contextmanager
def of_the_user(name: str, what: str) -> Iterator[None]:
    """For the user's code: turns what it raises into a `_Refused`."""
    try:
        yield
    except _Refused:
        raise
    except Exception as error:
        raise broken(name, f"{what} raised {describe(error)}") from error


def pure(play: Callable[[], Any], name: str) -> Any:
    """What `play` returns; refuses one that raises an error, in a graph or outside, or returns something else again."""
    with of_the_user(name, "of which a step"):
        found = play()
        again = play()
    with of_the_user(name, "of which a step, traced into a graph,"):
        tf.function(play, autograph=False).get_concrete_function()
    if not same(found, again):
        raise broken(
            name,
            "which gives another result when a step is repeated, expected a pure function: one that draws nothing, and "
            "assigns nothing to variables",
        )
    return found


def _play(cell: keras.layers.Layer, name: str, gradients: tuple, dtype: str) -> tuple[list[tf.Tensor], Any]:
    """The updates of some steps, and the states after them."""
    states, updates = cell.get_initial_state(batch_size=len(gradients[0])), []
    for step in gradients:
        update, states = _step(cell, name, tf.constant(step, dtype)[:, None], states)
        updates.append(update)
    return updates, states


def _step(cell: keras.layers.Layer, name: str, inputs: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
    """One step; checks what it returns."""
    returned = cell(inputs, states)
    wanted = inputs, states
    if described(as_lists(returned)) != described(as_lists(wanted)):
        raise broken(
            name,
            f"whose `call` returns {described(returned)}, expected (updates, states) like gradients and states, "
            f"{described(wanted)}",
        )
    if any(list(getattr(state, "shape", ()))[:1] != [inputs.shape[0]] for state in tf.nest.flatten(states)):
        of = f"expected tensors with a row for each of {inputs.shape[0]} coordinates"
        raise broken(name, f"whose `get_initial_state` returns {described(states)}, {of}")
    return tf.nest.pack_sequence_as(wanted, tf.nest.flatten(returned))


def _made_again(cell: keras.layers.Layer, name: str, dtype: str) -> keras.layers.Layer:
    """The cell that `get_config` makes. Files keep it beside the weights, so the copy must take these weights."""
    with of_the_user(name, "whose `get_config` does not make it again: it"):
        again = type(cell).from_config(json.loads(json.dumps(cell.get_config())))
        if not again.built:
            again.build((None, 1))
        _play(again, name, _FIRST, dtype)  # a layer inside may make its weights when it is called
    if [weight.shape for weight in again.weights] != [weight.shape for weight in cell.weights]:
        raise broken(
            name,
            "whose `get_config` leads to weights of other shapes, expected one with all arguments of the constructor",
        )
    return again


def as_lists(structure: Any) -> Any:
    """The structure with lists for tuples: a cell may return one for the other."""
    if isinstance(structure, dict):
        return {key: as_lists(value) for key, value in structure.items()}
    return [*map(as_lists, structure)] if isinstance(structure, tuple | list) else structure


def described(structure: Any) -> str:
    """The structure as text, with dtype and shape for each tensor."""

    def one(leaf):
        known = tf.is_tensor(leaf) or isinstance(leaf, np.ndarray)
        return f"{tf.as_dtype(leaf.dtype).name} {list(leaf.shape)}" if known else type(leaf).__name__

    return str(tf.nest.map_structure(one, structure)).replace("'", "")


def same(one: Any, other: Any) -> bool:
    """Whether the tensors of two structures are nearly equal."""
    pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return all(nearly_equal(*pair) for pair in pairs)


def broken(name: str, how: str) -> _Refused:
    """The error for an optimizer that breaks its contract."""
    return _Refused(f"Received optimizer {name!r}, {how}. See docs/adding-an-optimizer.md.")
