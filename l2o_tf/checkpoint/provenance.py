"""By which program a result was made."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import l2o_tf

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tensorflow", "keras", "numpy")


def provenance(root: Path = ROOT) -> dict[str, Any]:
    """What a result file says about the program that wrote it.

    Args:
        root: folder of the program; default: the one that holds `l2o_tf`.

    Returns:
        `date` (UTC), `commit` (None outside of a git checkout), `dirty` (whether Python files differ from the commit or
        are not part of it; None outside), `versions` of l2o_tf, python and the packages that decide numbers.
    """
    commit, dirty = _git_state(root)
    versions = {"l2o_tf": l2o_tf.__version__, "python": platform.python_version()}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": dirty,
        "versions": versions | {name: _version(name) for name in PACKAGES},
    }


def _git_state(root: Path) -> tuple[str | None, bool | None]:
    """Commit and whether it is dirty. A package installed inside somebody else's checkout has no commit of its own."""
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD")
    if not top or not commit or Path(top).resolve() != root.resolve():
        return None, None
    changes = _git(root, "status", "--porcelain", "--untracked-files=all", "--", "*.py")
    return commit, None if changes is None else bool(changes)


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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
