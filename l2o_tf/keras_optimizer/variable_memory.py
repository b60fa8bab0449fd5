"""What a Keras optimizer remembers of the variables that it trains, and how it finds them again.

A saved model may be loaded with other layers frozen, under other names, or in another process. Each variable gets the
memory of the variable before that has the same shape and

1. the same place in the list, if shapes agree place by place, paths do not, and either all values agree or none is in
   both lists (the model was trained further in between);
2. else the same value: a file holds the values of the model, too. A value that occurs once tells which layer is which.
   Of several equal values (biases of zero), the one of the same layer is taken, else the next;
3. else the same path; or the same end of it (`dense/lora_kernel_a`), if there is one such.

Paths alone are not enough: the names that Keras makes (`dense_3`) count up in a process. So once a layer is found under
another name, the paths of layers that are not found are ignored.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.common import reading
from l2o_tf.keras_optimizer import state_rows

VARIABLES = "variables"
"""Key of a file under which the identities of its variables are."""

MOST_VARIABLES = 10_000
"""Variables that a file may describe. No model has that many."""


class Identity(NamedTuple):
    """By what a variable is recognised.

    Attributes:
        path: `"sequential/dense_3/kernel"`.
        shape: of the variable.
        digest: of its value.
    """

    path: str
    shape: tuple[int, ...]
    digest: str


class Memory(NamedTuple):
    """What an optimizer remembers of K variables, as arrays.

    Attributes:
        shapes: of the variables.
        averages: number of the variable -> its moving average; empty without such.
        accumulated: number of the variable -> the sum of its gradients; empty without such.
        learned: the learned optimizer's state.
        watch: the guard's state; None if unknown.
    """

    shapes: Sequence[tuple[int, ...]]
    averages: dict[int, np.ndarray]
    accumulated: dict[int, np.ndarray]
    learned: Any
    watch: Any

    @property
    def sizes(self) -> list[int]:
        """Numbers of coordinates, `(n_1, ..., n_K)`."""
        return list(map(math.prod, self.shapes))


def identity(path: str, value: np.ndarray) -> Identity:
    """The identity of a variable."""
    digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
    return Identity(path, tuple(value.shape), digest)


def to_arrays(variables: Sequence[Identity], memory: Memory) -> dict[str, np.ndarray]:
    """Arrays by name, for a file of weights."""
    parts = {
        "average": memory.averages,
        "accumulated": memory.accumulated,
        "learned": dict(enumerate(tf.nest.flatten(memory.learned))),
        "watch": dict(enumerate(tf.nest.flatten(memory.watch))),
    }
    text = np.frombuffer(json.dumps(variables).encode(), np.uint8)
    return {VARIABLES: text} | {f"{part}_{i}": value for part, each in parts.items() for i, value in each.items()}


def from_arrays(
    arrays: Mapping[str, Any], shapes_of: Callable[[Sequence[tuple[int, ...]]], tuple[Any, Any]]
) -> tuple[list[Identity], Memory]:
    """The inverse of `to_arrays`. An array is read once its shape is the one that is expected.

    Args:
        arrays: those of `to_arrays`; others are ignored.
        shapes_of: shapes of variables -> those of the learned optimizer's state, and of the guard's, for them.

    Raises:
        ValueError: if the arrays are of another architecture, or damaged. The message continues "the file".
    """
    variables = _identities(Stored(arrays, VARIABLES))
    shapes = [variable.shape for variable in variables]
    found: dict[str, dict[int, Stored]] = {"average": {}, "accumulated": {}, "learned": {}, "watch": {}}
    for key in arrays.keys():  # noqa: SIM118  Keras's stores have no other iterator
        part, _, number = key.rpartition("_")
        if part in found and number.isdecimal() and len(number) < 10:
            found[part][int(number)] = Stored(arrays, key)
    averages, accumulated, learned, watch = (dict(sorted(each.items())) for each in found.values())
    try:
        of_learned, of_watch = shapes_of(shapes)
        known = watch and tf.nest.flatten(of_watch)
        memory = Memory(
            shapes,
            {i: _read(array, shapes[i]) for i, array in averages.items()},
            {i: _read(array, shapes[i]) for i, array in accumulated.items()},
            _packed(learned.values(), of_learned),
            _packed(watch.values(), of_watch) if known else None,
        )
    except Exception as error:  # whatever the shapes in a damaged or hostile file lead to
        raise ValueError("has that of another optimizer, or is damaged") from error
    return variables, memory


def _packed(arrays: Iterable["Stored"], shapes: Any) -> Any:
    read = [_read(*each) for each in zip(arrays, tf.nest.flatten(shapes), strict=True)]
    return tf.nest.pack_sequence_as(shapes, read)


def _read(array: "Stored", shape: Sequence[int]) -> np.ndarray:
    if array.shape != tuple(shape):
        raise ValueError(f"Received an array of shape {array.shape}, expected {tuple(shape)}.")
    return np.array(array)


class Stored:
    """An array in a file that is not read yet. Keras's stores read what they are asked for, so HDF5 tells the shape."""

    def __init__(self, arrays: Mapping[str, Any], key: str):
        group = getattr(arrays, "_h5_entry_group", {})
        self.shape = tuple((group if key in group else arrays)[key].shape)
        self._arrays, self._key = arrays, key

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._arrays[self._key], dtype)


def _identities(array: Any) -> list[Identity]:
    """The variables that a file describes; it may be anybody's."""
    try:
        if math.prod(array.shape) > reading.MOST_JSON_BYTES:
            raise ValueError("too long")
        found = [
            Identity(str(path), tuple(shape), str(digest)) for path, shape, digest in json.loads(bytes(np.array(array)))
        ]
        numbers = all(type(n) is int and n >= 0 for variable in found for n in variable.shape)
        if numbers and len(found) <= MOST_VARIABLES:
            return found
    except (ValueError, TypeError, RecursionError):
        pass
    raise ValueError("does not describe its variables")


def same(before: Sequence[Identity], now: Sequence[Identity]) -> list[int | None]:
    """For every variable now, its number before, or None; see the module's docstring."""
    if _in_place(before, now):
        return list(range(len(now)))
    kept: list[int | None] = [None] * len(now)
    _pair(kept, before, now, lambda v: (v.shape, v.digest), once=True)
    layers = {_layer(v.path): _layer(before[i].path) for i, v in zip(kept, now, strict=True) if i is not None}
    renamed = any(old != new for new, old in layers.items())
    now = [_renamed(v, layers.get(_layer(v.path), None if renamed else _layer(v.path))) for v in now]
    _pair(kept, before, now, lambda v: (v.shape, v.digest, v.path))
    _pair(kept, before, now, lambda v: (v.shape, v.digest))
    _pair(kept, before, now, lambda v: (v.shape, v.path))
    _pair(kept, before, now, lambda v: (v.shape, *v.path.split("/")[-2:]), once=True)
    return kept


def _in_place(before: Sequence[Identity], now: Sequence[Identity]) -> bool:
    """Whether both are the same list: all values agree, or none, since they were trained on, and the names differ."""
    if [v.shape for v in before] != [v.shape for v in now] or {v.path for v in before} == {v.path for v in now}:
        return False
    agree = [old.digest == new.digest for old, new in zip(before, now, strict=True)]
    return all(agree) or not {v.digest for v in before} & {v.digest for v in now}


def _pair(
    kept: list[int | None],
    before: Sequence[Identity],
    now: Sequence[Identity],
    key: Callable[[Identity], tuple],
    once: bool = False,
) -> None:
    """Finds, in their order, what is left and has the same key; with `once`, only where no other has that key."""
    found = set(kept)
    places: dict[tuple, tuple[list[int], list[int]]] = {}
    for side, variables in enumerate((before, now)):
        for i, variable in enumerate(variables):
            if (kept[i] is None) if side else (i not in found):
                places.setdefault(key(variable), ([], []))[side].append(i)
    for old, new in places.values():
        if not once or len(old) == len(new) == 1:
            for i, j in zip(old, new, strict=False):
                kept[j] = i


def _layer(path: str) -> str:
    return path.rpartition("/")[0]


def _renamed(variable: Identity, layer: str | None) -> Identity:
    """With the path that it had before in this layer; None: no path at all, since names have changed."""
    return variable._replace(path="" if layer is None else f"{layer}/{variable.path.rpartition('/')[2]}".lstrip("/"))


def carried(kinds: tuple[Any, Any], old: Memory, new: Memory, kept: Sequence[int | None]) -> Memory:
    """The memory of the variables now: the old one for those that were there before, the initial one for the others.

    Args:
        kinds: what the parts of the learned optimizer's state stand for, and those of the guard's (`state_rows`).
        old, new: of the variables before, and the initial one of those now.
        kept: for every variable now, its number before, or None.
    """
    sizes = (old.sizes, new.sizes)
    return Memory(
        new.shapes,
        {i: old.averages.get(kept[i], value) for i, value in new.averages.items()},
        {i: old.accumulated.get(kept[i], value) for i, value in new.accumulated.items()},
        state_rows.carried(kinds[0], old.learned, new.learned, kept, *sizes),
        new.watch if old.watch is None else state_rows.carried(kinds[1], old.watch, new.watch, kept, *sizes),
    )
