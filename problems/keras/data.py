"""A user's data for `from_keras`: arrays, a `tf.data.Dataset` or a TFDS name -> tensors on the device.

The data are read once and stay on the device in one piece. Minibatches are rows of int32 indices. 64-bit numbers become
32-bit ones. Everything else keeps its type, so that images remain uint8. Whether the data fit the model is found by
calling the model.
"""

import os
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from problems.base import DataInfo, fingerprint
from problems.common.user_errors import describe
from problems.data.datasets import DataError

_NARROW = {"float64": np.float32, "int64": np.int32, "uint32": np.int32, "uint64": np.int32}
_READ = 1024  # rows of a `tf.data.Dataset` that are read at a time


class Data(NamedTuple):
    """Examples on the device: what the model is called with (a tensor `[n, ...]`, a dict or tuple), and labels."""

    inputs: Any
    labels: tf.Tensor
    info: DataInfo


def read(dataset: Any, model: keras.Model, *, name: str | None, split: str, data_dir: str | None) -> Data:
    """Puts a data set on the device; arguments and errors as in `from_keras`."""
    source, part = name or "arrays", "all"
    if isinstance(dataset, str):
        source, part = dataset, split
        x, y = _from_tfds(dataset, split, data_dir)
    elif isinstance(dataset, tf.data.Dataset):
        source = name or "tf.data"
        x, y = _from_tf_data(dataset, model)
    elif isinstance(dataset, tuple | list) and len(dataset) == 2:
        x, y = dataset
    else:
        kind = f"{len(dataset)} entries" if isinstance(dataset, tuple | list) else type(dataset).__name__
        raise ValueError(
            f"Received a data set of {kind}, expected arrays (x, y), a tf.data.Dataset of (x, y) or a TFDS name."
        )
    if isinstance(x, dict):
        x = {key: _array(value, f"x[{key!r}]") for key, value in x.items()}
    elif isinstance(x, tuple) or (isinstance(x, list) and len(getattr(model, "inputs", None) or ()) > 1):
        x = tuple(_array(each, "x") for each in x)
    else:
        x = _array(x, "x")
    y = _array(y, "y")
    arrays = [*tf.nest.flatten(x), y]
    if len({each.shape[:1] for each in arrays}) > 1 or not y.size:
        shapes = ", ".join(str(list(each.shape)) for each in arrays[:-1])
        raise ValueError(f"Received x {shapes} and y {list(y.shape)}, expected as many labels as examples, at least 1.")
    info = DataInfo(source, part, len(y), fingerprint(*arrays))
    with tf.init_scope():  # the data belong to the process, not to a graph
        return Data(tf.nest.map_structure(tf.constant, x), tf.constant(y), info)


def _array(values: Any, what: str) -> np.ndarray:
    """As NumPy, in 32 bits at most."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Received {what} that is no array ({error}), expected numbers of one shape.") from error
    if (array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16") or array.ndim == 0:
        raise ValueError(f"Received {what} of {array.dtype} and shape {list(array.shape)}, expected rows of numbers.")
    narrow = array.astype(_NARROW.get(array.dtype.name, array.dtype))
    if array.dtype.kind in "iu" and not np.array_equal(narrow, array):
        raise ValueError(f"Received {what} with integers beyond 32 bits, expected int32.")
    missing = ~np.isfinite(narrow)
    if missing.any():
        raise ValueError(
            f"Received {what} with values that are missing or infinite, the first in row {np.argwhere(missing)[0][0]}, "
            "expected finite numbers; fill them in, or leave these examples out."
        )
    return narrow


def _from_tf_data(dataset: tf.data.Dataset, model: keras.Model) -> tuple[Any, np.ndarray]:
    """Reads all elements; whether they are examples or batches of such shows in their rank."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(f"Received a tf.data.Dataset of {spec}, expected one of pairs (x, y).")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("Received a tf.data.Dataset without end, expected a finite one; drop its `repeat()`.")
    dataset = dataset.batch(_READ) if _has_examples(spec, model) else dataset
    nothing = np.zeros(0), np.zeros(0)
    try:
        pieces = list(dataset.as_numpy_iterator())
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *pieces) if pieces else nothing
    except (tf.errors.OpError, ValueError) as error:  # the user's own code, or batches of different shapes
        raise ValueError(
            f"Received a tf.data.Dataset that cannot be read as examples of one shape: {describe(error)}."
        ) from error


def _has_examples(spec: Any, model: keras.Model) -> bool:
    """Whether the elements of a `tf.data.Dataset` are examples, and not batches of such."""
    x, y = spec
    if isinstance(y, tf.TensorSpec) and y.shape.rank == 0:
        return True
    if getattr(model, "inputs", None):
        declared = model.inputs[0]
        first = x[declared.name] if isinstance(x, dict) and declared.name in x else tf.nest.flatten(x)[0]
        return first.shape.rank < len(declared.shape)
    first = tf.nest.flatten(x)[0].shape
    if first.rank and first[0] is None:
        return False
    raise ValueError(
        f"Received a tf.data.Dataset of {spec}, which may be examples or batches: the model does not say what it "
        "takes. Batch it with `dataset.batch(n)`, whose first axis is of any length."
    )


def _from_tfds(name: str, split: str, data_dir: str | None) -> tuple[Any, np.ndarray]:
    """Reads what TFDS has prepared, in its order. Nothing is downloaded."""
    folder = os.path.expanduser(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    asked = f"Received the data set {name!r} (split {split!r})"
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(name, data_dir=folder)
        if builder.data_path.exists():
            return tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1, as_supervised=True))
    except Exception as error:  # TFDS, and each data set's own code, raise anything
        raise DataError(f"{asked}, which TFDS cannot read in {folder}: {describe(error)}.") from error
    command = f"python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', data_dir='{folder}')\""
    raise DataError(f"{asked}, which is not prepared in {folder}. Set TFDS_DATA_DIR, or prepare it: {command}")


def rows(data: Data, indices: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """`(inputs, labels)` of some examples. Bytes become numbers; other integers may be indices and stay as they are."""

    def taken(tensor):
        tensor = tf.gather(tensor, indices)
        return tf.cast(tensor, tf.float32) if tensor.dtype in (tf.uint8, tf.bool) else tensor

    return tf.nest.map_structure(taken, data.inputs), tf.gather(data.labels, indices)
