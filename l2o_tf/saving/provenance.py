"""By which program a result was made."""

import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from l2o_tf.common.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tensorflow", "keras", "numpy")


def program_in(root: Path) -> dict[str, Any]:
    """The program in a folder, as it is now.

    Args:
        root: the top of a checkout. A package installed inside somebody else's checkout has no commit of its own.

    Returns:
        `commit`, and `dirty`: whether Python files differ from the commit or are not part of it. Both are None outside
        of a checkout.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "HEAD") if top and Path(top).resolve() == root.resolve() else None
    changes = _git(root, "status", "--porcelain", "--untracked-files=all", "--", "*.py") if commit else None
    return {"commit": commit or None, "dirty": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command, or None where there is no git or it fails."""
    command, environment = ["git", "-C", str(root), *arguments], {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=20, env=environment
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None


RUNNING = program_in(ROOT)
"""The program that this process runs: what the folder held at the import, whatever is committed until results are."""


def provenance() -> dict[str, Any]:
    """What a result file says about the program that wrote it.

    Returns:
        `date` (UTC, now), `commit` and `dirty` as in `program_in`, `versions` of l2o_tf, python and the packages that
        decide numbers.
    """
    versions = {"l2o_tf": VERSION, "python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    return {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **RUNNING, "versions": versions}


def must_be_equal() -> dict[str, Any]:
    """What the workers of one job must have in common: commit, source, versions of the packages that decide numbers."""
    source = hashlib.sha256()
    for folder in ("l2o_tf", "problems"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            source.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    found = provenance()["versions"]
    versions = {name: found[name] for name in ("l2o_tf", *PACKAGES)}
    return {"commit": RUNNING["commit"], "source code": source.hexdigest()[:16], **versions}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
