"""Names of the form `path/to/file.py:name`, and the copies of such files that are kept. No TensorFlow here.

The name of a copy contains the digest of its content, `cell-0123456789abcdef.py`. A copy that was changed does not run.
A copy cannot import the files beside it, because nobody has checked those.
"""

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

_COPY = re.compile(r"-([0-9a-f]{16})$")


def is_file(name: str) -> bool:
    """Whether a name is of the form `path/to/file.py:name`."""
    return name.endswith(".py") or ".py:" in name


def path(name: str) -> Path:
    """The file of `path/to/file.py:name`."""
    return Path(f"{name.removesuffix('.py').partition('.py:')[0]}.py").resolve()


def module_name(file: Path) -> str:
    """Name of the module as which a file is run."""
    return f"file_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{file.stem}"


def source(file: Path) -> bytes:
    """The source that this process has run of a file; if it has not run it, the present content."""
    return getattr(sys.modules.get(module_name(file)), "__source__", None) or file.read_bytes()


def copy_name(file: Path, content: bytes) -> str:
    """Name for a copy of a file; of a file that is a copy, its own name."""
    return file.name if is_copy(file, content) else f"{file.stem}-{_digest(content)}.py"


def is_copy(file: Path, content: bytes) -> bool:
    """Whether a file has the name of a copy; a ValueError if it has, and its content was changed."""
    called = _COPY.search(file.stem)
    if called and called[1] != _digest(content):
        raise ValueError(f"Received {file}, a copy that was changed: its SHA-256 begins with {_digest(content)}.")
    return bool(called)


def digests(names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that are in files -> the first 16 hex digits of the SHA-256 of the file."""
    files = {name: path(name) for name in names if is_file(name)}
    return {name: _digest(file.read_bytes()) for name, file in files.items() if file.is_file()}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
