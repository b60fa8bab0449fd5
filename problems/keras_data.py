"""A user's data for `problems.keras_model`: arrays, a `tf.data.Dataset` or a TFDS name -> tensors on the device.

Whatever they were, they are read once, stay on the device in one piece, and minibatches are rows of int32 indices.
64-bit numbers become 32-bit ones; everything else keeps its type, so that images remain uint8.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from problems.base import DataInfo
from problems.datasets import DataError
from problems.user_errors import describe

_NARROW = {"float64": np.float32, "int64": np.int32, "uint32": np.int32, "uint64": np.int32}
_READ = 1024  # rows of a `tf.data.Dataset` that are read at a time


class Data(NamedTuple):
    """Examples on the device.

    Attributes:
        inputs: what the model is called with: a tensor `[n, ...]`, or a dict or tuple of such.
        labels: `[n, ...]`.
        info: what they are.
    """

    inputs: Any
    labels: tf.Tensor
    info: DataInfo


class Expected(NamedTuple):
    """One input of a model: its name, its shape without the batch axis (None: any length), its type."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def expected_inputs(model: keras.Model) -> list[Expected] | None:
    """The inputs that a functional or sequential model declares; None for one that declares none.

    Raises:
        ValueError: if the batch axis of an input has a fixed length.
    """
    if not getattr(model, "inputs", None):
        return None
    for tensor in model.inputs:
        if tensor.shape[0] is not None:
            raise ValueError(
                f"Received model {model.name!r} with input {tensor.name!r} of the fixed shape {list(tensor.shape)}, "
                "expected a batch axis of any length; give `keras.Input` a `shape` instead of a `batch_shape`."
            )
    return [Expected(tensor.name, tuple(tensor.shape[1:]), str(tensor.dtype)) for tensor in model.inputs]


def read(dataset: Any, expected: list[Expected] | None, *, name: str | None, split: str, data_dir: str | None) -> Data:
    """Puts a data set on the device.

    Args:
        dataset: `(x, y)`, a finite `tf.data.Dataset` of `(x, y)`, or a TFDS name.
        expected: what the model takes, if it says so.
        name: for `DataInfo`; default: `"arrays"` or `"tf.data"`. What TFDS has keeps its name there.
        split, data_dir: of TFDS.

    Raises:
        DataError: a ValueError; if TFDS does not have it.
        ValueError: if it is none of these, is empty or endless, or does not fit the model.
    """
    source, part = "arrays", "all"
    if isinstance(dataset, str):
        source, part = dataset, split
        x, y = _from_tfds(dataset, split, data_dir)
    elif isinstance(dataset, tf.data.Dataset):
        source = "tf.data"
        x, y = _from_tf_data(dataset, expected)
    elif isinstance(dataset, tuple | list) and len(dataset) == 2:
        x, y = dataset
    else:
        kind = f"{len(dataset)} entries" if isinstance(dataset, tuple | list) else type(dataset).__name__
        raise ValueError(
            f"Received a data set of {kind}, expected arrays (x, y), a tf.data.Dataset of (x, y) or a TFDS name."
        )
    if isinstance(y, dict | list | tuple) and any(np.ndim(each) for each in tf.nest.flatten(y)[:1]):
        raise ValueError(f"Received y as a {type(y).__name__}, expected one array of labels.")
    x = tuple(_array(each, "x") for each in x) if _is_many(x, expected) else _mapped(x)
    y = _array(y, "y")
    _check_sizes(x, y)
    _check_fit(x, expected)
    known = source if isinstance(dataset, str) else name or source
    info = DataInfo(known, part, len(y), fingerprint([*tf.nest.flatten(x), y]))
    with tf.init_scope():  # the data belong to the process, not to a graph
        return Data(tf.nest.map_structure(tf.constant, x), tf.constant(y), info)


def fingerprint(arrays: Sequence[np.ndarray]) -> str:
    """First 16 hex digits of the SHA-256 over the arrays, row-major; of images and int32 labels as in `datasets`."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _is_many(x: Any, expected: list[Expected] | None) -> bool:
    """Whether a list or tuple is one of several inputs, and not one array written as a list."""
    return isinstance(x, tuple | list) and (isinstance(x, tuple) or (expected is not None and len(expected) > 1))


def _mapped(x: Any) -> Any:
    return {key: _array(value, f"x[{key!r}]") for key, value in x.items()} if isinstance(x, dict) else _array(x, "x")


def _array(values: Any, what: str) -> np.ndarray:
    """As NumPy, in 32 bits at most."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Received {what} that is no array ({error}), expected numbers of one shape.") from error
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise ValueError(
            f"Received {what} of type {array.dtype}, expected numbers; turn text into integers first, with "
            "`keras.layers.TextVectorization`, say."
        )
    if array.ndim == 0:
        raise ValueError(f"Received {what} without axes, expected one row per example.")
    narrow = array.astype(_NARROW.get(array.dtype.name, array.dtype))
    if array.dtype.kind in "iu" and not np.array_equal(narrow, array):
        raise ValueError(f"Received {what} with integers beyond 32 bits, expected int32.")
    if array.dtype.kind not in "biu" and not np.isfinite(narrow).all():
        missing = ~np.isfinite(narrow)
        raise ValueError(
            f"Received {what} with values that are missing or infinite, the first in row {np.argwhere(missing)[0][0]}, "
            "expected finite numbers; fill them in, or leave these examples out."
        )
    return narrow


def _check_sizes(x: Any, y: np.ndarray) -> None:
    sizes = {len(each) for each in [*tf.nest.flatten(x), y]}
    if len(sizes) > 1:
        shapes = ", ".join(str(list(each.shape)) for each in tf.nest.flatten(x))
        raise ValueError(f"Received x {shapes} and y {list(y.shape)}, expected the same number of examples.")
    if sizes == {0}:
        raise ValueError("Received an empty data set, expected at least one example.")


def _check_fit(x: Any, expected: list[Expected] | None) -> None:
    """Compares shapes with what the model declares; the model itself finds the rest."""
    if expected is None:
        return
    names = [each.name for each in expected]
    if isinstance(x, dict) and set(x) != set(names):
        return  # the model may call them otherwise
    arrays = [x[name] for name in names] if isinstance(x, dict) else tf.nest.flatten(x)
    if len(arrays) != len(expected):
        raise ValueError(f"Received x of {len(arrays)} arrays, expected {len(expected)}, for the inputs {names}.")
    for array, (name, shape, dtype) in zip(arrays, expected, strict=True):
        given = array.shape[1:]
        if len(given) != len(shape) or any(a != b for a, b in zip(given, shape, strict=True) if b is not None):
            rows = ", ".join(["n", *("any" if size is None else str(size) for size in shape)])
            raise ValueError(f"Received x {list(array.shape)} for the input {name!r}, expected [{rows}].")
        if dtype.startswith(("int", "uint")) and array.dtype.kind == "f" and not np.array_equal(array, array // 1):
            raise ValueError(f"Received x of {array.dtype} for the input {name!r} of {dtype}, expected whole numbers.")


def _from_tf_data(dataset: tf.data.Dataset, expected: list[Expected] | None) -> tuple[Any, np.ndarray]:
    """Reads all elements; whether they are examples or batches of such shows in their rank."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(f"Received a tf.data.Dataset of {spec}, expected one of pairs (x, y).")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("Received a tf.data.Dataset without end, expected a finite one; drop its `repeat()`.")
    is_single = _is_single(spec, expected)
    try:
        pieces = list((dataset.batch(_READ) if is_single else dataset).as_numpy_iterator())
    except tf.errors.OpError as error:  # from the user's own code, too
        raise ValueError(f"Received a tf.data.Dataset that cannot be read to its end: {describe(error)}.") from error
    if not pieces:
        raise ValueError("Received an empty data set, expected at least one example.")
    try:
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *pieces)
    except ValueError as error:
        raise ValueError(
            f"Received a tf.data.Dataset of batches that differ in more than their length ({error}), expected examples "
            "of one shape; pad them."
        ) from None


def _is_single(spec: Any, expected: list[Expected] | None) -> bool:
    """Whether the elements of a `tf.data.Dataset` are examples, and not batches of such.

    Raises:
        ValueError: if they can be neither, or nothing tells which.
    """
    x, label = spec[0], spec[1] if isinstance(spec[1], tf.TensorSpec) else None
    if expected:
        named = isinstance(x, dict) and expected[0].name in x
        rank, single = (x[expected[0].name] if named else tf.nest.flatten(x)[0]).shape.rank, len(expected[0].shape)
        if rank not in (single, single + 1):
            raise ValueError(
                f"Received a tf.data.Dataset of {spec}, expected x with {single} axes, or batches of such."
            )
        return rank == single
    first = tf.nest.flatten(x)[0].shape
    if label is not None and label.shape.rank == 0:
        return True
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
        prepared = builder.data_path.exists()
        stored = builder.as_dataset(split=split, batch_size=-1, as_supervised=True) if prepared else None
        x, y = tfds.as_numpy(stored) if prepared else (None, None)
    except Exception as error:  # TFDS, and each data set's own code, raise anything
        raise DataError(f"{asked}, which TFDS cannot read in {folder}: {describe(error)}.") from error
    if not prepared:
        command = f"python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', data_dir='{folder}')\""
        raise DataError(f"{asked}, which is not prepared in {folder}. Set TFDS_DATA_DIR, or prepare it: {command}")
    return x, y


def examples_of(data: Data) -> Callable[[Any], tuple[tf.Tensor, tf.Tensor]] | None:
    """`minibatch -> (inputs, labels)` to be looked at, of one tensor of images or of rows of numbers; else None."""
    x = data.inputs
    if not tf.is_tensor(x) or x.dtype == tf.bfloat16:
        return None
    if x.shape.rank == 4:
        in_range = x.dtype in (tf.uint8, tf.bool) or bool(tf.reduce_all((x >= 0) & (x <= 1)))
        if x.shape[-1] not in (1, 3) or not in_range:
            return None
    seen = tf.cast(x, tf.float32) if x.dtype == tf.bool else x
    return lambda batch: (tf.gather(seen, batch.indices), tf.gather(data.labels, batch.indices))


def rows(data: Data, indices: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """`(inputs, labels)` of some examples, as a model takes them."""
    inputs = tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), data.inputs)
    return for_model(inputs), tf.gather(data.labels, indices)


def for_model(inputs: Any) -> Any:
    """Bytes are quantities to a model; other integers may be indices."""
    return tf.nest.map_structure(
        lambda tensor: tf.cast(tensor, tf.float32) if tensor.dtype in (tf.uint8, tf.bool) else tensor, inputs
    )
