"""What an error about an unknown name adds: the known names that look like it."""

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
