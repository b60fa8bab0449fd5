"""What errors quote of files and flags: the beginning, on a line, however much there is."""

import reprlib
from collections.abc import Sequence
from typing import Any

_quoted = reprlib.Repr()
_quoted.maxstring = _quoted.maxother = _quoted.maxlong = 80
_quoted.maxlevel, _quoted.maxdict = 3, 6


def short(value: Any) -> str:
    """A value as errors quote it: its `repr`, or the beginning and the end of that.

    >>> short([1] * 100)
    '[1, 1, 1, 1, 1, 1, ...]'
    """
    return _quoted.repr(value)


def cut(text: str, most: int = 80) -> str:
    """A text on a line, or its beginning.

    >>> cut("lstm_1/w_gates", most=8)
    'lstm_...'
    """
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def reason(error: BaseException) -> str:
    """What an error says, shortened."""
    return cut(str(error), 300) or type(error).__name__


def few(clauses: Sequence[str]) -> str:
    """The clauses of an error, or the first six and how many there are.

    >>> few(["a: 1", "b: 2"])
    'a: 1; b: 2'
    """
    return "; ".join([*clauses[:6], *([f"and {len(clauses) - 6} more"] if len(clauses) > 6 else [])])
