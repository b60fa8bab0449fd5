"""How errors quote what they received: on one line, and only the beginning of what is long."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

_quoted = reprlib.Repr()
_quoted.maxstring = _quoted.maxother = _quoted.maxlong = 80
_quoted.maxlevel, _quoted.maxdict = 3, 6


def short(value: Any) -> str:
    """The `repr` of a value; the middle of a long one is left out.

    >>> short([1] * 100)
    '[1, 1, 1, 1, 1, 1, ...]'
    """
    return _quoted.repr(value)


def cut(value: Any, most: int = 80) -> str:
    """The `str` of a value, on one line; a long one is cut after `most` characters.

    >>> cut("lstm_1/w_gates", most=8)
    'lstm_...'
    """
    line = " ".join(str(value)[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def reason(error: BaseException) -> str:
    """The message of an error, on one line of at most 300 characters; its type where it has none."""
    return cut(error, 300) or type(error).__name__


def few(clauses: Sequence[str], separator: str = "; ") -> str:
    """The first six clauses, and how many more there are.

    >>> few(["a: 1", "b: 2"])
    'a: 1; b: 2'
    """
    return separator.join([*clauses[:6], *([f"and {len(clauses) - 6} more"] if len(clauses) > 6 else [])])


def differences(one: Mapping[str, Any], other: Mapping[str, Any], here: str, there: str) -> list[str]:
    """A clause for each entry that differs between two mappings. A tuple is as good as a list, None as nothing.

    >>> differences({"layers": (20, 20)}, {"layers": [3], "k": 5}, "expected", "received")
    ['layers: [20, 20] expected, [3] received', 'k: nothing expected, 5 received']
    """

    def listed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: listed(entry) for key, entry in value.items()}
        return list(map(listed, value)) if isinstance(value, list | tuple) else value

    def said(value: Any) -> str:
        return "nothing" if value is None else cut(value)

    pairs = {name: (listed(one.get(name)), listed(other.get(name))) for name in {**one, **other}}
    return [f"{cut(name)}: {said(a)} {here}, {said(b)} {there}" for name, (a, b) in pairs.items() if a != b]
