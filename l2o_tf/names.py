"""Names that a user reads: suggestions for an unknown one, and long ones made short."""

import difflib
from collections.abc import Iterable


def hint(name: str, known: Iterable[str]) -> str:
    """`" Did you mean adam?"`, or nothing where no known name is close.

    >>> hint("Adan", ["adam", "sgd"])
    ' Did you mean adam?'
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    return f" Did you mean {' or '.join(close)}?" if close else ""


def shortened(names: Iterable[str], width: int = 32) -> dict[str, str]:
    """Name -> itself, or its two ends in `width` characters; no two names have the same.

    >>> shortened(["Adam", "runs/of/some/body/L2O-DM-s1"], 16)
    {'Adam': 'Adam', 'runs/of/some/body/L2O-DM-s1': 'runs/of…O-DM-s1'}
    """
    found: dict[str, str] = {}
    for name in names:
        half = (width - 1) // 2
        short = text = name if len(name) <= width else f"{name[:half]}…{name[-half:]}"
        number = 1
        while text in found.values() and name not in found:
            number += 1
            text = f"{short} #{number}"
        found.setdefault(name, text)
    return found
