"""What a Keras optimizer is made of: a name, a folder, an optimizer in memory, or the configuration of another one."""

import base64
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src.saving import serialization_lib

from l2o_tf.common import descriptions
from l2o_tf.common.names import pretrained_names
from l2o_tf.common.quoting import few, short
from l2o_tf.common.reading import read_npz
from l2o_tf.optimizers import Optimizer
from l2o_tf.saving import loading
from l2o_tf.saving.weights import Arrays, named_weights, require_makeable

Source = str | os.PathLike | Optimizer | Mapping[str, Any]


def learned_from(source: Source, allow_code: bool) -> tuple[Optimizer, Arrays]:
    """The optimizer, with meta-parameters that nobody else changes, and these as arrays."""
    if isinstance(source, Mapping):
        found = _unpacked(source, allow_code)
    elif isinstance(source, Optimizer):
        found = source
    elif isinstance(source, str | os.PathLike):
        found = loading.make(loading.find(os.fspath(source)), allow_code=allow_code)
    else:
        raise ValueError(
            f"Received source={short(source)}, expected a name of {pretrained_names()}, the path of a run, or an "
            "optimizer."
        )
    weights = named_weights(found)
    if not weights:
        raise ValueError(
            f"Received the optimizer {found.name!r}, which has no meta-parameters, expected one of "
            f"{pretrained_names()}, a folder or a learned optimizer; for analytic ones take keras.optimizers."
        )
    patterns = [pattern for pattern, *_ in found.architecture.get("assignments", []) if pattern != "*"]
    if patterns:
        raise ValueError(
            f"Received the optimizer {found.name!r}, which assigns optimizers to the parameters {patterns}, "
            "expected one optimizer for all. To keep a layer as it is, set layer.trainable = False."
        )
    if found is source:
        with tf.init_scope():
            found = found.at([tf.constant(value) for value in weights.values()])
    return found, weights


class _Text(str):
    """Weights as text that was made in this process. Messages show its length only."""

    def __repr__(self) -> str:
        return f"<{len(self):,} characters>"


def packed(optimizer: Optimizer, weights: Arrays) -> dict[str, Any]:
    """Architecture and φ as JSON types; a ValueError if the optimizer cannot be made again from these."""
    require_makeable(optimizer)
    file = io.BytesIO()
    np.savez_compressed(file, **weights)
    described = {"name": optimizer.name, "optimizer": optimizer.kind, "architecture": optimizer.architecture}
    return {**described, "weights": _Text(base64.b64encode(file.getvalue()).decode())}


def _unpacked(given: Mapping[str, Any], allow_code: bool) -> Optimizer:
    """The inverse of `packed`, for what may come from a stranger's file."""
    if missing := {"name", "optimizer", "architecture", "weights"} - set(given):
        raise ValueError(f"Received source without {sorted(missing)}, expected what get_config() makes.")
    ours = isinstance(given["weights"], _Text)  # not from a file: what runs, runs already
    files = [] if ours or allow_code else descriptions.files(given["optimizer"], given["architecture"])
    if files and serialization_lib.in_safe_mode() is not False:
        raise ValueError(
            f"Received an optimizer that would run the Python code {few(files)}, expected one without. If you "
            "trust it, take load_model(..., safe_mode=False) or keras.config.enable_unsafe_deserialization()."
        )
    try:
        data = base64.b64decode(given["weights"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"Received weights of a saved optimizer that are no text in base64 ({error}).") from error
    weights = read_npz(data, "the weights of a saved optimizer")
    return loading.make(loading.Found(given, weights, given["name"], given["name"]), allow_code=True)
