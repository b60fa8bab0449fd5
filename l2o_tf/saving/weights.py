"""`weights.npz` and `optimizer.json`: a trained optimizer as a folder, and the way from and to its variables.

A full disk or a kill leaves the old files as they were. (A kill between the two renames leaves the new weights beside
the old card; reading them says so.) What is read is checked against the card: a damaged or foreign file is an error.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from l2o_tf.common import descriptions
from l2o_tf.common.folders import as_path
from l2o_tf.common.quoting import cut, differences, few, reason, short
from l2o_tf.common.reading import MOST_BYTES, read_bytes, read_json, read_npz
from l2o_tf.common.writing import write_all
from l2o_tf.optimizers import ANALYTIC, CELLS, FROZEN, Optimizer
from l2o_tf.saving import CARD, RUN, WEIGHTS, code
from l2o_tf.saving.provenance import provenance
from problems.common import python_files

FORMAT = 1
"""Version of the folder's format, under `"format"` in the card."""

Arrays = dict[str, np.ndarray]
"""Meta-parameters of an optimizer by name."""


def save(optimizer: Optimizer, folder: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Writes a learned optimizer to a folder, from which `load` and `LearnedOptimizer` read it again.

    Args:
        optimizer: one with meta-parameters, of a kind that `make_optimizer` makes.
        folder: where `weights.npz` and `optimizer.json` go; made if it is missing.
        overwrite: whether weights that are there may be replaced. Default False. Those of a meta-training never are.

    Raises:
        ValueError: if the optimizer has no meta-parameters, could not be loaded again, or the folder has weights.
        OSError: if the folder cannot be written or the disk is full; existing files are then unchanged.

    Example:
        >>> import tempfile, l2o_tf
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     l2o_tf.save(l2o_tf.load("RNNprop-CL-IL"), folder)
        ...     l2o_tf.load(folder).kind
        'RNNprop'
    """
    if not getattr(optimizer, "named_variables", None):
        raise ValueError(f"Received {short(optimizer)}, expected an optimizer with meta-parameters.")
    require_makeable(optimizer)
    save_weights(require_free(folder, overwrite=overwrite), named_weights(optimizer), describe(optimizer))


def describe(optimizer: Optimizer) -> dict[str, Any]:
    """A card: what the optimizer is, and by which program it was made."""
    return {"optimizer": optimizer.kind, "architecture": optimizer.architecture, "provenance": provenance()}


def require_makeable(optimizer: Optimizer) -> None:
    """Raises a ValueError for an optimizer that `make_optimizer` cannot make again in another process."""
    known = {*CELLS, *ANALYTIC, FROZEN.kind}
    for kind in descriptions.kinds(optimizer.kind, optimizer.architecture):
        if kind not in known and not python_files.is_file(kind):
            raise ValueError(
                f"Received an optimizer of the class {cut(kind)}, which another process does not know. Put the class "
                f"into a file, and make the optimizer by make_optimizer('path/to/file.py:{cut(kind)}')."
            )


def require_free(folder: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """The folder; a ValueError if it has a meta-training, or weights that may not be overwritten."""
    folder = as_path(folder)
    if (folder / RUN).exists() or (not overwrite and (folder / WEIGHTS).exists()):
        raise ValueError(
            f"Received the folder {folder}, which holds weights already. Use another folder, or delete it."
        )
    return folder


def save_weights(directory: str | os.PathLike, named_weights: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Writes `weights.npz` and `optimizer.json`; the folder is made if it is missing.

    Args:
        directory: the folder.
        named_weights: name -> array; only finite floating-point numbers.
        card: what to know about the optimizer, of JSON types and NumPy numbers. NaN and infinity, which JSON lacks,
            become null. `"format"` and `"weights"` are added here, and, where it names Python files, copies of them.

    Raises:
        ValueError: if a weight is not finite or no floating-point array, or the card holds something else.
        OSError: as in `save`.
    """
    directory, weights = Path(directory), {name: np.asarray(value) for name, value in named_weights.items()}
    check_usable(weights, f"for {directory / WEIGHTS}")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **weights)
    described = {
        "file": WEIGHTS,
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "variables": {name: f"{value.dtype}{list(value.shape)}" for name, value in weights.items()},
    }
    card, copies = code.keep(card)
    try:
        text = json.dumps({"format": FORMAT, **card, "weights": described}, default=lambda value: value.tolist())
    except (TypeError, AttributeError) as error:
        raise ValueError(f"Received a card for {directory} that JSON cannot hold: {error}.") from error
    text = json.dumps(json.loads(text, parse_constant=lambda nan_or_infinity: None), indent=2)
    files = {**copies, WEIGHTS: buffer.getvalue(), CARD: text.encode() + b"\n"}
    write_all({directory / name: data for name, data in files.items()})


def load_weights(directory: str | os.PathLike) -> tuple[dict[str, Any], Arrays]:
    """Reads a folder that `save_weights` has written. No code is run.

    Returns:
        The card, in which Python files are the copies in the folder, and name -> array.

    Raises:
        ValueError: if a file is missing or damaged, if the weights are not those that the card describes, if one of
            them is not finite, or if code was changed.
        OSError: if a file cannot be read.
    """
    directory = Path(directory)
    missing = [name for name in (WEIGHTS, CARD) if not (directory / name).is_file()]
    if missing:
        raise ValueError(
            f"Received {directory}, which has no {' and no '.join(missing)}, expected a folder with {WEIGHTS} and "
            f"{CARD}. Weights of the original program need `python -m l2o_tf.cli.weights import` once."
        )
    card, data = _read_card(directory / CARD), read_bytes(directory / WEIGHTS, 2 * MOST_BYTES)
    if hashlib.sha256(data).hexdigest() != card["weights"]["sha256"]:
        raise ValueError(
            f"Received {directory / WEIGHTS} whose SHA-256 is not the one in {CARD}: it was changed, damaged or cut "
            "short, or the two files come from different saves. Copy both from the same folder, or save again."
        )
    weights = read_npz(data, directory / WEIGHTS)
    check_usable(weights, f"in {directory / WEIGHTS}")
    return code.find(card, directory), weights


def named_weights(optimizer: Optimizer) -> Arrays:
    """The meta-parameters as arrays, by their names."""
    return {name: np.array(variable.numpy()) for name, variable in optimizer.named_variables.items()}


def assign_weights(optimizer: Optimizer, weights: Mapping[str, Any]) -> None:
    """Sets all meta-parameters; none, and a ValueError, if names, shapes or values are wrong."""
    variables = optimizer.named_variables
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    check_shapes({name: value.shape for name, value in arrays.items()}, expected, optimizer.name)
    check_usable(arrays, "to assign")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def check_shapes(received: Mapping[str, tuple], expected: Mapping[str, tuple], name: str) -> None:
    """Raises a ValueError for weights of other names or shapes than an optimizer has."""
    if received != expected:
        different = few(differences(expected, received, "expected", "received"))
        raise ValueError(
            f"Received weights of another architecture than {name}: {different}. "
            "Choose the optimizer that these weights were trained as."
        )


def check_usable(weights: Mapping[str, np.ndarray], where: str) -> None:
    """Raises a ValueError for what cannot be weights: no array, too much, integers, values not finite in float32."""
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
    if not (isinstance(described, dict) and described.get("sha256")):
        raise ValueError(f"Received {path}, which does not describe weights, expected a card made by `save_weights`.")
    if card.get("format") != FORMAT:
        raise ValueError(f"Received {path} of format {short(card.get('format'))}, expected {FORMAT}.")
    return card
