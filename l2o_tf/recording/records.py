"""The records of a run, `records.jsonl`: one JSON line per meta-epoch and per event, which needs no library to read.

**After a kill.** A killed run has records of meta-epochs after its last checkpoint; these will be run again. Their
records are dropped, and so is a half last line. So the file of a resumed run equals that of an uninterrupted one,
except for wall times (`without_wall_times`).
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

RECORDS = "records.jsonl"
WALL_TIME = "wall_time"
SPEED = "speed/"
"""Prefix of the scalars that depend on the machine and the hour."""

Record = dict[str, Any]


def append_record(path: Path, step: int, values: Mapping[str, Any]) -> None:
    """Adds a line with the values of a meta-epoch; numbers that are not finite become null.

    Raises:
        OSError: if the file cannot be written or the disk is full.
    """
    record = {"meta_epoch": int(step), WALL_TIME: round(time.time(), 3)}
    for name, value in values.items():
        record[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    with _named(path), open(path, "a", encoding="utf-8") as file:  # each time, since others may replace the file
        file.write(json.dumps(record, allow_nan=False) + "\n")


def read_records(path: str | os.PathLike) -> list[Record]:
    """Reads `records.jsonl`; a last line that was cut in half is left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if another line is no record.
    """
    return [record for _, record in _parse(Path(path))]


def drop_records(path: Path, first: int) -> None:
    """Drops the records of meta-epoch `first` and later, and a half last line. Atomic; a missing file becomes empty.

    Warns if a meta-epoch before `first` has no record, as in a file that was shortened.

    Raises:
        OSError: if the file cannot be written.
        ValueError: if `first` is positive and a line other than the last is no record.
    """
    parsed = _parse(path) if first and path.exists() else []
    kept = [(line, record) for line, record in parsed if record["meta_epoch"] < first]
    part = path.with_name(f".{path.name}.part")
    with _named(path):
        part.write_text("".join(line + "\n" for line, _ in kept), encoding="utf-8")
        os.replace(part, path)
    lost = first - len({record["meta_epoch"] for _, record in kept if "event" not in record})
    if lost:
        logging.warning("%s lacks %d of %d meta-epochs; the run goes on.", path, lost, first)


def without_wall_times(records: Sequence[Mapping[str, Any]]) -> list[Record]:
    """The records without what depends on the machine and the hour: what two equal runs have in common."""
    return [
        {key: value for key, value in record.items() if key != WALL_TIME and not key.startswith(SPEED)}
        for record in records
    ]


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Names the file in an error of writing: that of a full disk does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _parse(path: Path) -> list[tuple[str, Record]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            parsed.append((line, record | {"meta_epoch": int(record["meta_epoch"])}))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            if number < len(lines):
                raise ValueError(
                    f"Received {path} whose line {number} of {len(lines)} is no record: {line[:80]!r}; "
                    "expected one JSON object with a 'meta_epoch' per line; repair or remove that line."
                ) from error
    return parsed
