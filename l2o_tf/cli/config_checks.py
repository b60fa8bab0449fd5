"""Finds what is wrong with a configuration, and says each fault in one sentence."""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from l2o_tf.common import names
from l2o_tf.common.quoting import cut

INT32 = 2**31 - 1
FLOAT32 = 1e30
"""Far below the largest number in single precision: results of computations with it are finite, too."""


class Range(NamedTuple):
    """Numbers of type `kind` from `low` to `high`; without `low` if `above`, without `high` if `below`."""

    low: float
    high: float
    above: bool
    below: bool
    kind: type

    def has(self, value: float) -> bool:
        """Whether a number is one of them; NaN never is."""
        return (self.low < value or (value == self.low and not self.above)) and (
            value < self.high or (value == self.high and not self.below)
        )

    def __str__(self) -> str:
        return f"{_TYPES[self.kind][1]} {self.limits}"

    @property
    def limits(self) -> str:
        """The limits in words."""
        style = "," if self.kind is int else "g"
        low, high = format(self.low, style), format(self.high, style)
        if self.above:
            return f"above {low}, at most {high}"
        return f"from {low} to {'below ' if self.below else ''}{high}"


def whole(least: int = 1, most: int = INT32) -> Range:
    """Whole numbers; TensorFlow counts in int32."""
    return Range(least, most, False, False, int)


def number(low: float, high: float = FLOAT32, *, above: bool = False, below: bool = False) -> Range:
    """Numbers in single precision."""
    return Range(low, high, above, below, float)


class Choice(tuple):
    """One of several words."""

    def __new__(cls, *words: str):
        return super().__new__(cls, words)

    has = tuple.__contains__

    def __str__(self) -> str:
        return f"one of {list(self)}"


class Entries(NamedTuple):
    """Entries separated by commas.

    Attributes:
        what: what errors call them.
        range: of each entry, if they are numbers.
        least, most: limits for their number.
        is_good: another condition for each entry. Default: it is not empty.
    """

    what: str
    range: Range | None = None
    least: int = 1
    most: int = 100
    is_good: Callable[[str], bool] = bool

    def has(self, text: str) -> bool:
        """Whether all entries of a text are as they must be."""
        entries = text.split(",") if text else []
        try:
            inside = self.range is None or all(self.range.has(self.range.kind(entry)) for entry in entries)
        except ValueError:
            return False
        return inside and self.least <= len(entries) <= self.most and all(map(self.is_good, entries))

    def __str__(self) -> str:
        return f"{self.what}{f' {self.range.limits}' if self.range else ''}, separated by commas"


def complaints(config: Any) -> Iterator[str]:
    """Everything that is wrong with a `Config`, values by themselves first."""
    fields = dataclasses.fields(config)
    return itertools.chain(
        (wrong for field in fields if (wrong := wrong_type(field, getattr(config, field.name)))),
        (wrong for field in fields if (wrong := _not_allowed(field, getattr(config, field.name)))),
        _mismatches(config),
    )


_TYPES: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}
"""Type of a default -> what a value must be."""


def wrong_type(field: dataclasses.Field, value: Any) -> str:
    """An error message if a value has the wrong type; else empty."""
    kind = type(field.default)
    expected, words = _TYPES[kind]
    if isinstance(value, expected) and isinstance(value, bool) == (kind is bool):
        return ""
    if isinstance(field.metadata["allowed"], Entries):
        words = f"{words} or a list: {field.metadata['allowed']}"
    return f"Received --{field.name}={cut(value)} of type {type(value).__name__}, expected {words}."


def _not_allowed(field: dataclasses.Field, value: Any) -> str:
    """An error message if a value of the right type is not allowed; else empty."""
    allowed = field.metadata["allowed"]
    if allowed is None or allowed.has(value):
        return ""
    hint = names.hint(value, allowed) if isinstance(allowed, Choice) else ""
    return f"Received --{field.name}={cut(value)}, expected {allowed}.{hint}"


MOST_CALLS = 64


def _mismatches(config: Any) -> Iterator[str]:
    """An error message for each combination of values that does not work, and that no object refuses by itself."""
    shortest = min(config.unroll_length, *map(float, config.long_tail_steps.split(",")[1:2]), math.inf)
    if config.objective == "penultimate" and shortest < 2:
        yield (
            f"Received --objective=penultimate with windows of {shortest:g} step, where no update comes before that "
            "loss. Use longer windows (--unroll_length, --long_tail_steps), or --objective=final."
        )
    teachers = config.teachers.lower().split(",")
    if len(set(teachers)) < len(teachers):
        yield f"Received --teachers={config.teachers}, where a name comes twice."
    if config.max_growth and config.max_growth <= 1:
        yield f"Received --max_growth={config.max_growth}, expected 0 (never) or more than 1."
    if config.keep_states and config.self_improving:
        yield "Received --keep_states with --self_improving, whose teachers begin every run anew. Drop one of them."
    if config.meta_batch_size > MOST_CALLS and (config.self_improving or "L2O-Scale" in config.kinds):
        what = "--self_improving" if config.self_improving else "L2O-Scale"
        yield (
            f"Received --meta_batch_size={config.meta_batch_size} with {what}, where each optimizee is compiled by "
            f"itself, expected at most {MOST_CALLS}."
        )
