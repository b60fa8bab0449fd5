"""Inputs of exported programs as recipes, so that a large array travels as a line of JSON. Needs NumPy only.

A recipe is a dictionary. `make` returns the same array on every machine with the same version of NumPy.

| kind | other keys | array |
|---|---|---|
| `constant` | `shape, dtype, value` | one number everywhere |
| `normal` | `shape, seed, scale` | float32, N(0, scale²) |
| `integers` | `shape, dtype, seed, below` | uniform in 0 ... below - 1 |
| `where`, `weight`, `optimizee` | `sizes, parts, seed, count` | a field of `unroll.Sample` |
| `stored` | `name` | from the file of arrays |

A sample has, of tensor i, `parts[i]` of its `sizes[i]` entries; `count` is K, the number of optimizees.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Recipe = Mapping[str, Any]


def make(recipe: Recipe, stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """The array of a recipe."""
    return _MAKERS[recipe["kind"]](recipe, stored)


def _drawn(recipe: Recipe) -> np.random.Generator:
    return np.random.default_rng(recipe["seed"])


def _constant(recipe, _):
    return np.full(recipe["shape"], recipe["value"], recipe["dtype"])


def _normal(recipe, _):
    return _drawn(recipe).standard_normal(recipe["shape"], np.float32) * np.float32(recipe["scale"])


def _integers(recipe, _):
    return _drawn(recipe).integers(0, recipe["below"], recipe["shape"], recipe["dtype"])


def _where(recipe, _):
    rng, found, first = _drawn(recipe), [], 0
    for size, part in zip(recipe["sizes"], recipe["parts"], strict=True):
        found.append(first + (np.arange(size) if part == size else rng.permutation(size)[:part]))
        first += size
    return np.concatenate(found).astype(np.int32)


def _weight(recipe, _):
    pairs = zip(recipe["sizes"], recipe["parts"], strict=True)
    return np.concatenate([np.full(part, size / part, np.float32) for size, part in pairs])


def _optimizee(recipe, _):
    ends = np.cumsum(recipe["sizes"])
    sizes, first = np.repeat(recipe["sizes"], recipe["parts"]), np.repeat(ends - recipe["sizes"], recipe["parts"])
    return ((_where(recipe, _) - first) // (sizes // recipe["count"])).astype(np.int32)


_MAKERS = {
    "constant": _constant,
    "normal": _normal,
    "integers": _integers,
    "where": _where,
    "weight": _weight,
    "optimizee": _optimizee,
    "stored": lambda recipe, stored: stored[recipe["name"]],
}
