"""What a Keras optimizer remembers of the variables that it trains, and how it finds them again.

A saved model may be loaded with other layers frozen, under other names, or in another process. Each variable gets the
memory of the variable before that has the same shape and

1. the same value, which the file holds for the model, too; of several such, that of the same path;
2. else the same path. Paths alone would not do: names that Keras makes (`dense_3`) count up in a process;
3. else, if no variable at all is found by 1 and 2 and all shapes agree, the same place.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import nest

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


def from_arrays(arrays: Mapping[str, Any], watch_of: Callable[[int], Any]) -> tuple[list[Identity], Memory]:
    """The inverse of `to_arrays`.

    Args:
        arrays: those of `to_arrays`; others are ignored.
        watch_of: K -> any value with the structure of the guard's state for K variables.
    """
    text = json.loads(bytes(np.array(arrays[VARIABLES])))
    variables = [Identity(path, tuple(shape), digest) for path, shape, digest in text]
    found: dict[str, dict[int, np.ndarray]] = {"average": {}, "accumulated": {}, "learned": {}, "watch": {}}
    for key in arrays.keys():  # noqa: SIM118  Keras's stores have no other iterator
        part, _, number = key.rpartition("_")
        if part in found:
            found[part][int(number)] = np.array(arrays[key])
    learned, leaves = ([found[part][i] for i in sorted(found[part])] for part in ("learned", "watch"))
    watch = watch_of(len(variables))
    fits = len(tf.nest.flatten(watch)) == len(leaves)
    watch = tf.nest.pack_sequence_as(watch, leaves) if fits else None
    sizes = tuple(math.prod(variable.shape) for variable in variables)
    return variables, Memory(sizes, found["average"], found["accumulated"], learned, watch)


def same(before: Sequence[Identity], now: Sequence[Identity]) -> list[int | None]:
    """For every variable now, its number before, or None; see the module's docstring."""
    kept: list[int | None] = [None] * len(now)
    for parts in (("shape", "digest", "path"), ("shape", "digest"), ("shape", "path")):
        places: dict[tuple, list[int]] = {}
        for i, variable in enumerate(before):
            if i not in kept:
                places.setdefault(_key(variable, parts), []).append(i)
        for i, variable in enumerate(now):
            if kept[i] is None and places.get(_key(variable, parts)):
                kept[i] = places[_key(variable, parts)].pop(0)
    if kept == [None] * len(now) and [v.shape for v in before] == [v.shape for v in now]:
        return list(range(len(now)))
    return kept


def _key(variable: Identity, parts: Sequence[str]) -> tuple:
    return tuple(getattr(variable, part) for part in parts)


def fits(old: Memory, new: Memory) -> bool:
    """Whether both may be of one architecture, by the shapes of their states."""
    return [v.shape[1:] for v in old.learned] == [v.shape[1:] for v in new.learned]


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
