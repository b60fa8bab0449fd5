"""Writes files so that a full disk or a kill at any moment leaves either the old ones or the complete new ones."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Writes one file, see `write_all`."""
    write_all({Path(path): data})


def write_all(files: Mapping[Path, bytes]) -> None:
    """Completes every file under a temporary name, on the disk, before it renames the first.

    Raises:
        OSError: if a folder cannot be written or the disk is full; existing files are then unchanged.
    """
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
            with contextlib.suppress(OSError):  # of a read-only disk: there was nothing to remove
                part.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"{error.strerror or error}. Nothing was written; files that were there before are unchanged. Free some "
            "space or choose another folder",
            str(next(iter(files)).parent),
        ) from error
    for folder in {path.parent for path in files}:
        with contextlib.suppress(OSError):  # of a file system that cannot force renames to the disk
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
