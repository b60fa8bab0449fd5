"""`weights.npz` and `optimizer.json`: a trained optimizer as a folder, and the way from and to its variables.

Files are written under a temporary name, forced to the disk, and renamed into place only when all of them are
complete: a full disk or a kill leaves the old files as they were. (A kill between the two renames leaves the new
weights beside the old card; reading them says so, and the next save repairs it.) What is read is checked against the
card: a damaged or foreign file is an error with a reason, never a silently bad optimizer.
"""

import contextlib
import hashlib
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from l2o_tf.common.quoting import cut, few, reason, short
from l2o_tf.common.reading import MOST_BYTES, Header, read_bytes, read_json, read_npz
from l2o_tf.saving import code

WEIGHTS = "weights.npz"
CARD = "optimizer.json"
FORMAT = 1
"""Version of the folder's format, under `"format"` in the card."""

Weights = dict[str, np.ndarray]


class HasNamedVariables(Protocol):
    """What `l2o_tf.optimizers.base.Optimizer` promises."""

    named_variables: Mapping[str, Any]


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file so that, at any moment, it is either the old one or the complete new one.

    Raises:
        OSError: if the folder cannot be written or the disk is full; an existing file is then unchanged.
    """
    _write_all({Path(path): data})


def save_weights(directory: str | os.PathLike, named_weights: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Writes `weights.npz` and `optimizer.json`; the folder is made if it is missing.

    Args:
        directory: the folder.
        named_weights: name -> array; only finite floating-point numbers.
        card: what to know about the optimizer, of JSON types and NumPy numbers. NaN and infinity, which JSON lacks,
            become null. `"format"` and `"weights"` are added here, and, where it names Python files, copies of them.

    Raises:
        ValueError: if a weight is not finite or no floating-point array, or the card holds something else.
        OSError: if the folder cannot be written or the disk is full; existing files are then unchanged.
    """
    directory, weights = Path(directory), {name: np.asarray(value) for name, value in named_weights.items()}
    check_usable(weights, f"for {directory / WEIGHTS}")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **weights)
    described = {
        "file": WEIGHTS,
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "variables": {name: _describe(value) for name, value in weights.items()},
    }
    card, copies = code.keep(card)
    try:
        text = json.dumps(_json({"format": FORMAT, **card, "weights": described}), indent=2, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"Received a card for {directory} that JSON cannot hold: {error}.") from error
    files = {**copies, WEIGHTS: buffer.getvalue(), CARD: text.encode() + b"\n"}
    _write_all({directory / name: data for name, data in files.items()})


def load_weights(path: str | os.PathLike) -> tuple[dict[str, Any], Weights]:
    """Reads a folder that `save_weights` has written.

    Args:
        path: the folder, or either of its two files.

    Returns:
        The card, in which Python files are the copies in the folder, and name -> array. No code is run.

    Raises:
        ValueError: if a file is missing, damaged or cut in half, if the weights are not those that the card describes,
            if one of them is not finite, or if code was changed.
        OSError: if a file cannot be read.
    """
    path = Path(path)
    directory = path.parent if path.name in (WEIGHTS, CARD) else path
    missing = [name for name in (WEIGHTS, CARD) if not (directory / name).is_file()]
    if missing:
        raise ValueError(
            f"Received {path}, which has no {' and no '.join(missing)}, expected a folder with {WEIGHTS} and {CARD}. "
            "Weights of the original program need `python -m l2o_tf.saving import` once."
        )
    card, data = _read_card(directory / CARD), read_bytes(directory / WEIGHTS, 2 * MOST_BYTES)
    described = card["weights"]["variables"]

    def undescribed(headers: Mapping[str, Header]) -> str | None:
        received = {name: _describe(header) for name, header in headers.items()}
        return (
            None
            if received == described
            else (
                f"Received {directory / WEIGHTS} that {CARD} beside it does not describe: {_say(received)}, "
                f"expected {_say(described)}. Copy both files from the same folder."
            )
        )

    weights = read_npz(data, directory / WEIGHTS, undescribed)
    check_usable(weights, f"in {directory / WEIGHTS}")
    if hashlib.sha256(data).hexdigest() != card["weights"]["sha256"]:
        raise ValueError(
            f"Received {directory / WEIGHTS} whose SHA-256 is not the one in {CARD}: it was changed, or the two files "
            "come from different saves. Copy both from the same folder, or save again."
        )
    return code.find(card, directory), weights


def named_weights(optimizer: HasNamedVariables) -> Weights:
    """The meta-parameters as arrays, by their names."""
    return {name: np.array(variable.numpy()) for name, variable in optimizer.named_variables.items()}


def assign_weights(optimizer: HasNamedVariables, weights: Mapping[str, Any]) -> None:
    """Sets all meta-parameters, or none.

    Raises:
        ValueError: if names or shapes are not the optimizer's, or a value is not finite.
    """
    variables = optimizer.named_variables
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    check_shapes(
        {name: value.shape for name, value in arrays.items()}, expected, getattr(optimizer, "name", "expected")
    )
    check_usable(arrays, "to assign")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def check_shapes(received: Mapping[str, tuple], expected: Mapping[str, tuple], name: str) -> None:
    """Refuses weights of other names or shapes than an optimizer has.

    Raises:
        ValueError: naming up to six of the differences.
    """
    if received != expected:
        raise ValueError(
            f"Received weights of another architecture than {name}: {few(_differences(expected, received))}. "
            "Choose the optimizer that these weights were trained as."
        )


def check_usable(weights: Mapping[str, np.ndarray], where: str) -> None:
    """Refuses what cannot be the weights of a network: no array, too much, integers, values not finite in float32.

    Raises:
        ValueError: naming the first bad array.
    """
    if not weights:
        raise ValueError(f"Received no weights {where}, expected at least one array.")
    if sum(value.nbytes for value in weights.values()) > MOST_BYTES:
        raise ValueError(f"Received weights of more than {MOST_BYTES:,} bytes {where}, expected a smaller network.")
    for name, value in weights.items():
        if value.dtype.kind != "f":
            raise ValueError(f"Received dtype {value.dtype} as {cut(name)} {where}, expected floating-point numbers.")
        with np.errstate(over="ignore"):
            bad = int(np.count_nonzero(~np.isfinite(value.astype(np.float32))))
        if bad:
            raise ValueError(
                f"Received {bad} of {value.size} values that are NaN or infinite as {cut(name)} {where}, expected "
                "finite float32 numbers."
            )


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = read_json(path)
    except ValueError as error:
        raise ValueError(
            f"Received {path}, which is damaged or cut short ({reason(error)}). Copy or save it again."
        ) from error
    described = card.get("weights") if isinstance(card, dict) else None
    if not (isinstance(described, dict) and isinstance(described.get("variables"), dict) and described.get("sha256")):
        raise ValueError(f"Received {path}, which does not describe weights, expected a card made by `save_weights`.")
    if card.get("format") != FORMAT:
        raise ValueError(f"Received {path} of format {short(card.get('format'))}, expected {FORMAT}.")
    return card


def _write_all(files: Mapping[Path, bytes]) -> None:
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


def _json(value: Any) -> Any:
    """NumPy numbers as Python's, NaN and infinity as None, all the way down."""
    if isinstance(value, Mapping):
        return {str(key): _json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    if isinstance(value, np.generic | np.ndarray):
        return _json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _describe(value: np.ndarray | Header) -> str:
    return f"{value.dtype}{list(value.shape)}"


def _say(variables: Mapping[str, Any]) -> str:
    return few([f"{cut(name)} {cut(value)}" for name, value in variables.items()]) or "nothing"


def _differences(expected: Mapping[str, tuple], received: Mapping[str, tuple]) -> list[str]:
    """One clause per variable that is missing, surplus or of another shape."""
    clauses = []
    for name in [*expected, *(name for name in received if name not in expected)]:
        here, there = expected.get(name, "nothing"), received.get(name, "nothing")
        if here != there:
            clauses.append(f"{cut(name)}: expected {cut(here)}, received {cut(there)}")
    return clauses
