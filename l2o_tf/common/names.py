"""Names that a user reads or types: what ships, suggestions for an unknown name, and long names made short."""

import difflib
from collections.abc import Iterable
from pathlib import Path

PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""A folder for each trained optimizer that ships."""


def pretrained_names() -> list[str]:
    """Names of the trained optimizers that ship with the package.

    Example:
        >>> import l2o_tf
        >>> l2o_tf.list_pretrained()[:3]
        ['L2O-DM', 'L2O-DM-CL', 'L2O-DM-CL-IL']
    """
    return sorted(path.parent.name for path in PRETRAINED.glob("*/weights.npz"))


def hint(name: str, known: Iterable[str]) -> str:
    """`" Did you mean adam?"`, or nothing where no known name is close.

    >>> hint("Adan", ["adam", "sgd"])
    ' Did you mean adam?'
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    return f" Did you mean {' or '.join(close)}?" if close else ""


def ends(name: str, width: int) -> str:
    """The name, or its two ends in `width` characters.

    >>> ends("runs/of/some/body/L2O-DM-s1", 16)
    'runs/of…O-DM-s1'
    """
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[:half]}…{name[-half:]}"


def shortened(names: Iterable[str], width: int) -> dict[str, str]:
    """Name -> its `ends`; names that have the same are numbered."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        short = text = ends(name, width)
        number = 1
        while text in found.values():
            number += 1
            text = f"{short} #{number}"
        found[name] = text
    return found
