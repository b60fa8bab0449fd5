"""What the parts of an optimizer's state stand for, so that some of them can be taken over, or can rest.

A tensor of the state may have a row for every coordinate of the optimizee, or a row for every tensor, or it may be of
the optimizee as a whole. A dictionary may have an entry for every tensor. Which of these it is, two small optimizees
tell: `kinds` compares the states that a rule has for them.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.common.nest import Params

Initial = Callable[[Params], Any]  # θ_0 -> state


class Kind(enum.Enum):
    """What a part of a state stands for."""

    COORDINATES = "a row for every coordinate"
    TENSORS = "a row for every tensor"
    ENTRIES = "a dictionary with an entry for every tensor"
    WHOLE = "the same for every optimizee"
    OTHER = "of a size that depends on the optimizee in another way"


_PROBES = ((2, 3), (7, 11, 13))
_COORDINATES, _TENSORS = tuple(map(sum, _PROBES)), tuple(map(len, _PROBES))


def kinds(initial: Initial) -> Any:
    """The state's structure down to its tensors, or to dictionaries with entries for tensors: their kinds."""
    return _kinds(*(initial({str(i): tf.zeros([n]) for i, n in enumerate(sizes)}) for sizes in _PROBES))


def _kinds(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        if one and (set(one), set(other)) == tuple({str(i) for i in range(n)} for n in _TENSORS):
            return Kind.ENTRIES
        return {name: _kinds(one[name], other[name]) for name in one}
    if isinstance(one, tuple | list):
        parts = [_kinds(*each) for each in zip(one, other, strict=True)]
        return type(one)(*parts) if hasattr(one, "_fields") else type(one)(parts)
    if one.shape == other.shape:
        return Kind.WHOLE
    rows = {_COORDINATES: Kind.COORDINATES, _TENSORS: Kind.TENSORS}
    found = rows.get(tuple(x.shape[0] if x.shape.rank else None for x in (one, other)))
    return found if found and one.shape[1:] == other.shape[1:] else Kind.OTHER


def shapes(initial: Initial, of: Sequence[Sequence[int]]) -> Any:
    """The state that a rule has for tensors of these shapes, with the shapes of its tensors; nothing is computed."""

    @tf.function(autograph=False)
    def make():
        return initial({str(i): tf.zeros(shape) for i, shape in enumerate(of)})

    return tf.nest.map_structure(lambda found: found.shape, make.get_concrete_function().structured_outputs)


def carried(
    kinds: Any, old: Any, new: Any, kept: Sequence[int | None], old_sizes: Sequence[int], new_sizes: Sequence[int]
) -> Any:
    """The state once the optimizee has other tensors: the initial one, `new`, with what `old` knew; nests of arrays.

    Args:
        kinds: what the parts stand for.
        kept: for every tensor now, its number before, or None if there was none.
        old_sizes, new_sizes: numbers of coordinates of the tensors.
    """

    def take(kind, before, now):
        match kind:
            case Kind.ENTRIES:
                return {i: x if kept[int(i)] is None else before.get(str(kept[int(i)]), x) for i, x in now.items()}
            case Kind.COORDINATES:
                return rows(before, now, old_sizes, new_sizes)
            case Kind.TENSORS:
                return rows(before, now, [1] * len(old_sizes), [1] * len(new_sizes))
        return before if kind is Kind.WHOLE else now

    def rows(before, now, old_counts, new_counts):
        known, pieces = (
            np.split(x, np.cumsum(n, dtype=int))[:-1] for x, n in ((before, old_counts), (now, new_counts))
        )
        found = [piece if i is None else known[i] for piece, i in zip(pieces, kept, strict=True)]
        return np.concatenate([now[:0], *found])

    return keras.tree.map_structure_up_to(kinds, take, kinds, old, new)


def moving_rows(grad: tf.Tensor) -> tf.Tensor:
    """Which rows along axis 0 have a gradient that is not zero: `[rows, 1, ...]`."""
    return tf.reduce_any(grad != 0.0, axis=range(1, grad.shape.rank), keepdims=True)


def moving(kinds: Any, shapes: Any, rows: Mapping[str, tf.Tensor], params: Params) -> Any:
    """What of a state is new after a step in which only some rows of the optimizee moved, and not as before.

    A tensor rests if all of its rows do. What belongs to the optimizee as a whole never rests. An entry for a tensor
    has rows if its shape ends with that of the tensor.

    Args:
        kinds: what the parts stand for.
        shapes: of the tensors of the state.
        rows: name -> which rows of that tensor moved, of a shape that can be spread over it; others moved as a whole.
        params: for their shapes.

    Returns:
        The state's structure with a boolean for each of its numbers.
    """
    moves = {name: rows.get(name, tf.constant(True)) for name in params}
    coordinates = nest.flatten({name: tf.broadcast_to(moves[name], tensor.shape) for name, tensor in params.items()})
    tensors = tf.stack([tf.reduce_any(each) for each in moves.values()])

    def spread(which, shape):
        return tf.broadcast_to(tf.reshape(which, [-1] + [1] * (shape.rank - 1)), shape)

    def take(kind, of):
        match kind:
            case Kind.COORDINATES:
                return spread(coordinates, of)
            case Kind.TENSORS:
                return spread(tensors, of)
            case Kind.ENTRIES:
                return {name: entry(name, shapes) for name, shapes in of.items()}
        return tf.nest.map_structure(lambda shape: tf.fill(shape, True), of)

    def entry(name, of):
        own, whole = params[name].shape, tf.reduce_any(moves[name])

        def moved(shape):
            has_rows = shape.rank >= own.rank and shape[shape.rank - own.rank :] == own
            return tf.broadcast_to(moves[name] if has_rows else whole, shape)

        return tf.nest.map_structure(moved, of)

    return keras.tree.map_structure_up_to(kinds, take, kinds, shapes)
