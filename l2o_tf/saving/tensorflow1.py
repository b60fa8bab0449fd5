"""Reads L2O-Scale's weights out of a checkpoint of the original program, which ran on TensorFlow 1.

A checkpoint, `model.ckpt-0` for example, is named by what its files `model.ckpt-0.index`, `.data-00000-of-00001` and so
on have in common. Beside the weights, whose names begin with `LOL/`, it holds two slots of the meta-optimizer for each
of them, and the number of steps. Variables are plain arrays: nothing is run. An `.npz` file with the same names, `/` or
`__` between their parts, is the same thing.
"""

import glob
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from l2o_tf.common.quoting import reason
from l2o_tf.common.reading import MOST_BYTES
from l2o_tf.saving.weights import Arrays

SCOPE = "LOL/"
SLOTS = ("/RMSProp", "/RMSProp_1", "__RMSProp", "__RMSProp_1")


def files(path: str | os.PathLike) -> list[Path]:
    """The files of a checkpoint, the index first; empty if there is none of this name."""
    path = Path(path)
    if not os.path.isfile(f"{path}.index"):
        return []
    return [Path(f"{path}.index"), *sorted(path.parent.glob(f"{glob.escape(path.name)}.data-*"))]


def read(path: str | os.PathLike) -> Arrays:
    """All variables of a checkpoint, by name; a ValueError if it is damaged, incomplete or too large."""
    import tensorflow as tf  # Only now: nobody else who reads weights needs it.

    try:
        with tempfile.TemporaryDirectory() as folder:  # TensorFlow takes names for patterns: these match nothing else
            for file in files(path):
                Path(folder, f"model{file.name.removeprefix(Path(path).name)}").symlink_to(file.absolute())
            reader = tf.train.load_checkpoint(f"{folder}/model")
            shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
            if sum(dtypes[name].size * math.prod(shape) for name, shape in shapes.items()) > 3 * MOST_BYTES:
                raise ValueError(f"weights and slots of more than {3 * MOST_BYTES:,} bytes")
            return {name: np.asarray(reader.get_tensor(name)) for name in shapes}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"Received checkpoint {path}, which is damaged or incomplete ({reason(error)}). Copy it again."
        ) from error


def is_scale(variables: Mapping[str, np.ndarray]) -> bool:
    """Whether these are variables of such a checkpoint, by their names."""
    return any(name.replace("__", "/").startswith(SCOPE) for name in variables)


def scale_weights(variables: Mapping[str, np.ndarray]) -> Arrays:
    """The weights under this project's names, which are the program's without `LOL/`; the rest is left out."""
    named = {name.replace("__", "/"): value for name, value in variables.items() if not name.endswith(SLOTS)}
    return {name.removeprefix(SCOPE): value for name, value in named.items() if name.startswith(SCOPE)}
