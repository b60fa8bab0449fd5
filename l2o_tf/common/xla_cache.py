"""Keeps on disk what XLA has compiled, for the next process.

TensorFlow's cache tells entries apart by program and device, but not by processor or `XLA_FLAGS`, and its CPU entries
are machine code. So each processor, and each value of `XLA_FLAGS`, has a folder of its own::

    $XDG_CACHE_HOME/l2o_tf/xla/<TensorFlow's version>-<hash of processor and flags>        ($XDG_CACHE_HOME: ~/.cache)

`L2O_TF_XLA_CACHE` names another parent folder; if it is empty, there is no cache. A cache directory in `TF_XLA_FLAGS`
is left as it is. The folder may be deleted at any time.

TensorFlow does not check entries: one flipped bit can end the process. So an entry is *sealed* when the process that
made it ends or saves: its SHA-256 is written before it, as a protocol buffer field that TensorFlow ignores. Entries
without a right seal are deleted before TensorFlow is imported, and compiled anew.
"""

import atexit
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from absl import logging

SETTING, FLAGS, FLAG = "L2O_TF_XLA_CACHE", "TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory"
READ_ONLY = "--tf_xla_persistent_cache_read_only"

LEAST_FREE = 256 * 2**20
"""Bytes that must be free on the disk for entries to be added."""

SEAL = b"\xfa\xff\xff\xff\x0f\x20"
"""Tag of the last field that a protocol buffer can have, and the length of what it holds: the SHA-256 of the rest."""


def enable(environment: MutableMapping[str, str] = os.environ) -> None:
    """Tells TensorFlow, which must not be imported yet, where its cache is; without a writable folder there is none."""
    given = environment.get(FLAGS, "")
    chosen = environment.get(SETTING)
    if FLAG in given or chosen == "":
        return
    decides = hashlib.sha256((processor() + environment.get("XLA_FLAGS", "")).encode()).hexdigest()
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache", "l2o_tf", "xla")
    folder = Path(chosen or cache, f"{importlib.metadata.version('tensorflow')}-{decides[:12]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK) or " " in str(folder):  # a flag of TF_XLA_FLAGS ends at a space
            return
        _drop_bad_entries(folder)
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    added = f"{FLAG}={folder}"
    if free < LEAST_FREE:
        logging.warning("Only %d MB are free in %s: what XLA compiles is not kept.", free // 10**6, folder)
        added += f" {READ_ONLY}"
    environment[FLAGS] = f"{given} {added}".strip()
    atexit.register(seal, environment)


def folder_of(environment: Mapping[str, str] = os.environ) -> str:
    """TensorFlow's cache directory, or an empty text. Errors of the cache contain it."""
    return environment.get(FLAGS, "").partition(f"{FLAG}=")[2].partition(" ")[0]


def without(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The same environment without a cache."""
    flags = [flag for flag in environment.get(FLAGS, "").split(" ") if not flag.startswith((FLAG, READ_ONLY))]
    return {**environment, SETTING: "", FLAGS: " ".join(flags)}


def seal(environment: Mapping[str, str] = os.environ) -> None:
    """Seals the entries without a seal; those that cannot be written stay as they are."""
    if not folder_of(environment):
        return
    with contextlib.suppress(OSError):
        for path in _entries(Path(folder_of(environment))):
            with path.open("rb") as file:
                if file.read(len(SEAL)) == SEAL:
                    continue
            content, part = path.read_bytes(), path.with_name(f"{path.name}.{os.getpid()}.tmp")
            try:
                part.write_bytes(SEAL + hashlib.sha256(content).digest() + content)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)


def _drop_bad_entries(folder: Path) -> None:
    """Deletes damaged entries, with a warning, and those that killed processes left unsealed or half written."""
    damaged = 0
    for path in _entries(folder):
        content = path.read_bytes()
        rest = content.removeprefix(SEAL)
        was_sealed = not content or rest != content
        if was_sealed and hashlib.sha256(rest[32:]).digest() == rest[:32]:
            continue
        damaged += was_sealed
        path.unlink()
    for path in folder.iterdir():
        if path.suffix == ".tmp" and path.stat().st_mtime < time.time() - 3600:
            path.unlink()
    if damaged:
        logging.warning("%d damaged entries of XLA's cache deleted; they are compiled anew.", damaged)


def _entries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == ".pb" and path.is_file()]


def processor() -> str:
    """What decides which instructions the machine code may have."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
