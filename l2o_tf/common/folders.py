"""Folders for results: made if missing, held by one process at a time, cleaned of what killed processes left."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path


def make_folder(path: str | os.PathLike, flag: str = "output_dir") -> Path:
    """The folder for results, made if missing; errors name the flag that asked for it, if one did.

    Raises:
        ValueError: as `as_path`; if its name is not UTF-8, which the files in it could not tell.
        OSError: if it cannot be made or written; now, and not after an hour of work.
    """
    folder = as_path(path, flag)
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"Received {_named(f'{path!a}', flag)}, expected a name in UTF-8. Use another folder."
        ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Received {_named(path, flag)}, where no folder can be made ({error.strerror}).") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"Received {_named(folder, flag)}, which cannot be written. Choose another folder.")
    return folder


def as_path(path: str | os.PathLike, flag: str = "") -> Path:
    """The path of a folder.

    Raises:
        ValueError: if it is of another type, or empty.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"Received {_named(repr(path), flag)}, expected the path of a folder; '.' is the present one.")
    return Path(path)


@contextlib.contextmanager
def alone_in(folder: Path, flag: str = "output_dir") -> Iterator[None]:
    """Holds a folder for this process, and removes half-written files of earlier ones; the lock leaves no file.

    Raises:
        ValueError: if another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove_parts(folder)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(
            f"Received {_named(folder, flag)}, where another process is at work. Wait for it, or use another folder."
        ) from None
    except OSError:  # a file system without locks: then nobody is kept out
        pass
    try:
        yield
    finally:
        os.close(handle)


def _remove_parts(folder: Path) -> None:
    """Removes half-written files: `.NAME.part`, and pictures, `.NAME.PID.part`, whose process is dead."""
    for part in folder.glob(".*.part"):
        found = re.fullmatch(r"\..+\.(?:json|jsonl|npz|png)(?:\.(\d+))?\.part", part.name)
        if found and part.is_file() and not (found[1] and _is_alive(int(found[1]))):
            with contextlib.suppress(OSError):
                part.unlink()


def _is_alive(process: int) -> bool:
    with contextlib.suppress(PermissionError):  # it is another user's
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True


def _named(path: str | os.PathLike, flag: str) -> str:
    return f"--{flag}={path}" if flag else f"the folder {path}"
