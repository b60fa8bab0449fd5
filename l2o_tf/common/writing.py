"""Writes files so that a full disk or a kill at any moment leaves either the old ones or the complete new ones.

Files are written under a temporary name, forced to the disk, and renamed into place only when all of them are complete.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file so that, at any moment, it is either the old one or the complete new one.

    Raises:
        OSError: if the folder cannot be written or the disk is full; an existing file is then unchanged.
    """
    write_all({Path(path): data})


def write_all(files: Mapping[Path, bytes]) -> None:
    """Completes every file under a temporary name before it renames the first."""
    parts = {path: path.with_name(f".{path.name}.part") for path in files}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with parts[path].open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            os.replace(part, path)
    except OSError as error:
        for part in parts.values():
            _remove(part)
        raise OSError(
            error.errno,
            f"{error.strerror or error}. Nothing was written; files that were there before are unchanged. Free some "
            "space or choose another folder",
            str(next(iter(files)).parent),
        ) from error
    _sync_folders({path.parent for path in files})


def _sync_folders(folders: set[Path]) -> None:
    """Forces renames to the disk, where the file system can do so."""
    for folder in folders:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # A read-only disk: there was nothing to remove.
        path.unlink(missing_ok=True)
