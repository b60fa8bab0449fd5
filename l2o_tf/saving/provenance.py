"""By which program a result was made."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from l2o_tf.common.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tensorflow", "keras", "numpy")


class Program(NamedTuple):
    """Which program it is: its commit (None outside of a git checkout), and whether its files differ from it."""

    commit: str | None
    dirty: bool | None


def program_in(root: Path) -> Program:
    """The program in a folder, as it is now.

    Args:
        root: the top of a checkout. A package installed inside somebody else's checkout has no commit of its own.

    Returns:
        `dirty` says whether Python files differ from the commit or are not part of it; None outside of a checkout.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD") if top and Path(top).resolve() == root.resolve() else None
    if not commit:
        return Program(None, None)
    changes = _git(root, "status", "--porcelain", "--untracked-files=all", "--", "*.py")
    return Program(commit, None if changes is None else bool(changes))


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command, or None where there is no git or it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


RUNNING = program_in(ROOT)
"""The program that this process runs: what the folder held at the import, whatever is committed until results are."""


def provenance(program: Program = RUNNING) -> dict[str, Any]:
    """What a result file says about the program that wrote it.

    Args:
        program: which one; default: the one that runs.

    Returns:
        `date` (UTC, now), `commit` and `dirty` as in `Program`, `versions` of l2o_tf, python and the packages that
        decide numbers.
    """
    versions = {"l2o_tf": VERSION, "python": platform.python_version()}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **program._asdict(),
        "versions": versions | {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
