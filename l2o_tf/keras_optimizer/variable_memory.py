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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.common import nest, reading

VARIABLES = "variables"
"""Key of a file under which the identities of its variables are."""


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
        sizes: `(n_1, ..., n_K)`, their numbers of coordinates.
        averages: number of the variable -> its moving average; empty without such.
        accumulated: number of the variable -> the sum of its gradients; empty without such.
        learned: leaves of the learned optimizer's state. Rows may stand for coordinates, for tensors or for all.
        watch: the guard's state, whose dictionaries have the variables' numbers as keys; None if unknown.
    """

    sizes: tuple[int, ...]
    averages: dict[int, np.ndarray]
    accumulated: dict[int, np.ndarray]
    learned: list[np.ndarray]
    watch: Any


def identity(path: str, value: np.ndarray) -> Identity:
    """The identity of a variable."""
    digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
    return Identity(path, tuple(value.shape), digest)


def to_arrays(variables: Sequence[Identity], memory: Memory) -> dict[str, np.ndarray]:
    """Arrays by name, for a file of weights."""
    parts = {
        "average": memory.averages,
        "accumulated": memory.accumulated,
        "learned": dict(enumerate(memory.learned)),
        "watch": dict(enumerate(tf.nest.flatten(memory.watch))),
    }
    text = np.frombuffer(json.dumps(variables).encode(), np.uint8)
    return {VARIABLES: text} | {f"{part}_{i}": value for part, each in parts.items() for i, value in each.items()}


def from_arrays(
    arrays: Mapping[str, Any], now: Memory, watch_of: Callable[[int], Any]
) -> tuple[list[Identity], Memory]:
    """The inverse of `to_arrays`. Arrays are read once their names and shapes are those that are expected.

    Args:
        arrays: those of `to_arrays`; others are ignored.
        now: of the variables that are trained now, by the same architecture.
        watch_of: K -> any value with the structure of the guard's state for K variables.

    Raises:
        ValueError: if the arrays are of another architecture, or damaged. The message continues "the file".
    """
    variables = _identities(Stored(arrays, VARIABLES))
    found: dict[str, dict[int, np.ndarray]] = {"average": {}, "accumulated": {}, "learned": {}, "watch": {}}
    for key in arrays.keys():  # noqa: SIM118  Keras's stores have no other iterator
        part, _, number = key.rpartition("_")
        if part in found and number.isdecimal() and len(number) < 10:
            found[part][int(number)] = Stored(arrays, key)
    learned, leaves = ([found[part][i] for i in sorted(found[part])] for part in ("learned", "watch"))
    watch = watch_of(len(variables))
    expected = len(tf.nest.flatten(watch))
    watch = tf.nest.pack_sequence_as(watch, leaves) if expected == len(leaves) else None
    sizes = tuple(math.prod(variable.shape) for variable in variables)
    memory = Memory(sizes, found["average"], found["accumulated"], learned, watch)
    if not _fits(memory, now, variables) or (watch is None and leaves and expected):
        raise ValueError("has that of another optimizer, or is damaged")
    return variables, Memory(sizes, *(each and tf.nest.map_structure(np.array, each) for each in memory[1:]))


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
        if all(type(n) is int and n >= 0 for variable in found for n in variable.shape):
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


def _fits(old: Memory, new: Memory, variables: Sequence[Identity]) -> bool:
    """Whether both may be of one architecture, and the old one is of these variables, by the shapes."""
    return (
        len(old.learned) == len(new.learned)
        and all(nest.fits(*each, old.sizes, new.sizes) for each in zip(old.learned, new.learned, strict=True))
        and all(_of(each, variables) for each in (old.averages, old.accumulated, old.watch))
    )


def _of(arrays: Any, variables: Sequence[Identity]) -> bool:
    """Whether all arrays in dictionaries by the variables' numbers have the variables' shapes, and others none."""
    if isinstance(arrays, Mapping):
        return all(int(i) < len(variables) and tuple(v.shape) == variables[int(i)].shape for i, v in arrays.items())
    if isinstance(arrays, tuple):
        return all(_of(each, variables) for each in arrays)
    return arrays is None or tuple(arrays.shape) == ()


def carried(old: Memory, new: Memory, kept: Sequence[int | None]) -> Memory:
    """The memory of the variables now: the old one for those that were there before, the initial one for the others.

    Args:
        old, new: of the variables before, and the initial one of those now.
        kept: for every variable now, its number before, or None.
    """
    return Memory(
        new.sizes,
        {i: old.averages.get(kept[i], value) for i, value in new.averages.items()},
        {i: old.accumulated.get(kept[i], value) for i, value in new.accumulated.items()},
        [nest.carried(*each, kept, old.sizes, new.sizes) for each in zip(old.learned, new.learned, strict=True)],
        new.watch if old.watch is None else _watch(old.watch, new.watch, kept),
    )


def _watch(old: Any, new: Any, kept: Sequence[int | None]) -> Any:
    if isinstance(new, Mapping):
        return {i: value if kept[int(i)] is None else old[str(kept[int(i)])] for i, value in new.items()}
    if isinstance(new, tuple) and new:
        return type(new)(*(_watch(*each, kept) for each in zip(old, new, strict=True)))
    return old
