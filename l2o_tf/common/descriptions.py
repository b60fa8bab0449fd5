"""What a stored description of an optimizer names; no TensorFlow.

It is a kind and the arguments of its constructor, `("L2O-DM", {"layers": [20, 20]})`; those of `"assigned"` are
`[pattern, kind, architecture]` of each part.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l2o_tf.common.quoting import short
from problems.common.python_files import is_file

MOST_ASSIGNMENTS = 1000


def kinds(kind: str, architecture: Mapping[str, Any] | None = None) -> list[str]:
    """Kinds of the optimizers that `make_optimizer` would make: one, or those of all assignments.

    Raises ValueError if the arguments describe no optimizer, or too many.
    """
    found = []
    renamed(lambda each: found.append(each) or each, kind, architecture)
    if len(found) > MOST_ASSIGNMENTS:
        raise ValueError(f"Received {len(found):,} assignments, expected at most {MOST_ASSIGNMENTS:,}.")
    return found


def renamed(
    rename: Callable[[str], str], kind: str, architecture: Mapping[str, Any] | None = None
) -> tuple[str, Mapping[str, Any]]:
    """The same description, with each of its `kinds` renamed; a ValueError if it describes no optimizer."""
    architecture = {} if architecture is None else architecture
    if not isinstance(kind, str) or not isinstance(architecture, Mapping):
        raise ValueError(f"Received optimizer {short(kind)} of {short(architecture)}, expected a name and arguments.")
    if kind != "assigned":
        return rename(kind), architecture
    entries = architecture.get("assignments")
    if not isinstance(entries, Sequence) or not all(isinstance(e, Sequence) and len(e) in (2, 3) for e in entries):
        raise ValueError(f"Received assignments {short(entries)}, expected a list of [pattern, kind, architecture].")
    assigned = [[pattern, *renamed(rename, *entry)] for pattern, *entry in entries]
    return kind, {**architecture, "assignments": assigned}


def files(kind: str, architecture: Mapping[str, Any] | None = None) -> list[str]:
    """The cells in Python files, `path/to/file.py:Cell`, that `make_optimizer` would run; mostly none.

    Ask here before you make an optimizer from a stranger's file: making it would run their code.
    """
    return [found for found in kinds(kind, architecture) if is_file(found)]
