"""Keeps the code of a user's own cell beside its weights.

In memory a card names the cell by its file, `path/to/cell.py:Cell`. In a folder the card names a copy of that file in
the folder, and has the copy's SHA-256 under `"sources"`. So the folder can be moved, and changed code is noticed. Only
the file of the cell is kept, not the files that it imports. Nothing here runs the code: see `l2o_tf.saving.loading`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l2o_tf.common import descriptions
from l2o_tf.common.quoting import short
from l2o_tf.common.reading import read_bytes
from problems.common import python_files

MOST_BYTES = 2**24


def keep(card: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The card for a folder, and the copies that go beside it: name -> source."""
    copies = {}

    def kept(kind: str) -> str:
        if not python_files.is_file(kind):
            return kind
        file = python_files.path(kind)
        copy = python_files.copy_name(file, python_files.source(file))
        copies[copy] = python_files.source(file)
        return f"{copy}:{kind.partition('.py:')[2]}"

    if not _files(card):
        return dict(card), {}
    kind, architecture = descriptions.renamed(kept, card["optimizer"], card["architecture"])
    sources = {name: hashlib.sha256(source).hexdigest() for name, source in copies.items()}
    return {**card, "optimizer": kind, "architecture": architecture, "sources": sources}, copies


def find(card: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The card for memory, from that of a folder: the inverse of `keep`.

    Raises:
        ValueError: if the card describes no optimizer, or a copy of a file that it names is not there or was changed.
        OSError: if a copy cannot be read.
    """
    sources = card.get("sources")

    def found(kind: str) -> str:
        if not python_files.is_file(kind):
            return kind
        stem, _, cell = kind.partition(".py:")
        file, there = folder / f"{stem}.py", f"{folder / stem}.py:{cell}"
        expected = sources.get(file.name) if isinstance(sources, dict) else None
        if not expected or stem != file.stem or python_files.path(there) != folder.resolve() / file.name:
            raise ValueError(
                f"Received {folder}, whose optimizer is in the Python file {short(kind)}, of which there is no copy in "
                "the folder. If you trained it, repeat the command: it goes on, and keeps a copy."
            )
        source = read_bytes(file, MOST_BYTES)
        digest = hashlib.sha256(source).hexdigest()
        if digest != expected or not python_files.is_copy(file, source):
            raise ValueError(
                f"Received {file}, whose SHA-256 {digest} is not that of the code that these weights were trained with "
                f"({short(expected)}). Get the file as it was."
            )
        return there

    try:
        files = _files(card)
    except ValueError as error:
        raise ValueError(
            f"Received {folder / 'optimizer.json'}, whose optimizer and architecture cannot be made ({error})."
        ) from error
    if not files:
        return dict(card)
    kind, architecture = descriptions.renamed(found, card["optimizer"], card["architecture"])
    return {**card, "optimizer": kind, "architecture": architecture}


def _files(card: Mapping[str, Any]) -> list[str]:
    kind = card.get("optimizer")
    return descriptions.files(kind, card.get("architecture")) if isinstance(kind, str) else []
