"""Reads the weights that the original program of Chen et al. (2020) has saved, without running what they say.

Its files, `cw.l2l-0` and `rp.l2l-0` for example, are pickles of `{module: {variable: array}}`. A pickle is a program:
it names functions and calls them. Here it is not run, but read operation by operation. This module lists the few
operations, names and calls that weights need; every other one is an error. Nothing is imported. Reading takes no more
memory than the file has; arrays are made at the end, after they were counted.

A `pickle.Unpickler` that refuses all other names would be shorter, but not safe: `find_class` is not asked about sizes.
A memo number in a file of six bytes makes it reserve 34 GB, a `BYTEARRAY8` makes it reserve what that claims to hold,
and a dictionary whose key is a nest of tuples keeps it busy for ever.

L2O-Scale is the exception: that program saves a checkpoint of TensorFlow 1, see `tensorflow1`.

The names are those that `pickle` (protocols 0 to 5) and `dill` write for a `defaultdict(dict)` of arrays, with NumPy 1
and 2.
"""

import dataclasses
import hashlib
import os
import pickletools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2o_tf.common.quoting import cut, few, reason, short
from l2o_tf.common.reading import MOST_ARRAYS, MOST_BYTES, read_bytes, read_npz
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving import tensorflow1
from l2o_tf.saving.weights import (
    Arrays,
    assign_weights,
    check_usable,
    describe,
    named_weights,
    require_free,
    save_weights,
)

MOST_OPERATIONS = 100_000


def import_original(path: str | os.PathLike) -> Arrays:
    """Reads released weights.

    Args:
        path: a pickle of the original program, or an `.npz` file with keys `module/variable`; for L2O-Scale a
            checkpoint (`model.ckpt-0`), or its variables as an `.npz` file.

    Returns:
        `"module/variable"` -> float32 array, e.g. `"lstm_1/w_gates"`; for L2O-Scale its own names.

    Raises:
        ValueError: if the file is neither, is damaged, names anything that weights do not need, or holds values that
            are not finite floating-point numbers.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    weights = _read(path)
    from_scale = tensorflow1.is_scale(weights)
    weights = tensorflow1.scale_weights(weights) if from_scale else weights
    check_usable(weights, f"in {path}")
    misnamed = [name for name in weights if name.count("/") != 1]
    if misnamed and not from_scale:
        raise ValueError(
            f"Received {path} with the keys {few([cut(name) for name in misnamed])}, expected module/variable."
        )
    return {name: np.asarray(value, np.float32, order="C") for name, value in weights.items()}


def import_file(file: str | os.PathLike, kind: str, output: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Reads weights of the original program, checks that they are of this kind, and saves them.

    Args:
        file: as in `import_original`.
        kind: the architecture: `"L2O-DM"`, `"RNNprop"` or `"L2O-Scale"`.
        output: folder for `weights.npz` and `optimizer.json`.

    Returns:
        Name -> shape of what was saved.

    Raises:
        ValueError: if the output has weights already, or the file or the architecture is not right.
        OSError: if the file cannot be read or the output cannot be written.
    """
    output, path = require_free(output), Path(file)
    weights, optimizer = import_original(path), make_optimizer(kind)
    assign_weights(optimizer, weights)
    digest = hashlib.sha256()
    for part in tensorflow1.files(path) or [path]:
        digest.update(part.read_bytes())
    source = {
        "from": "weights of the original program",
        "file": str(Path(path.parent.name, path.name)),
        "sha256": digest.hexdigest(),
    }
    save_weights(output, named_weights(optimizer), {**describe(optimizer), "imported": source})
    return {name: value.shape for name, value in weights.items()}


def _read(path: Path) -> Arrays:
    if tensorflow1.files(path):
        return tensorflow1.read(path)
    data = read_bytes(path, 2 * MOST_BYTES)
    return read_npz(data, path) if data.startswith(b"PK\x03\x04") else _read_pickle(data, path)


def _read_pickle(data: bytes, path: Path) -> Arrays:
    try:
        tree = _value(data)
        found = {f"{module}/{variable}": array for module, of in tree.items() for variable, array in of.items()}
        if len(found) > MOST_ARRAYS or sum(len(array.data) for array in found.values()) > MOST_BYTES:
            raise ValueError(f"it holds more than {MOST_ARRAYS:,} arrays or {MOST_BYTES:,} bytes of them")
        return {name: array.numpy() for name, array in found.items()}
    except Exception as error:  # Whatever a damaged or hostile pickle may lead to, it is the file's fault.
        raise ValueError(
            f"Received {path}, which cannot be read as weights of the original program ({reason(error)}). Expected a "
            "pickle of {module: {variable: array}} or an .npz file with keys module/variable."
        ) from error


@dataclasses.dataclass
class _DType:
    """A floating-point type."""

    code: str
    order: str = "="


@dataclasses.dataclass
class _Array:
    """An array; its data is copied when all of the file has been read."""

    data: bytes | str = b""  # as text where protocols 0 to 2 write it so
    dtype: _DType | None = None
    shape: tuple[int, ...] = ()
    order: str = "C"

    def numpy(self) -> np.ndarray:
        raw = self.data.encode("latin1") if isinstance(self.data, str) else bytes(self.data)
        return np.frombuffer(raw, self.dtype.order + self.dtype.code).reshape(self.shape, order=self.order)


class _Name(NamedTuple):
    """A function or type that a pickle names."""

    name: str


_MARK = object()


def _value(data: bytes) -> Any:
    """What a pickle describes: dicts, tuples, numbers, texts, `_Array`, `_DType` and `_Name`."""
    stack, memo = [], {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MOST_OPERATIONS:
            raise ValueError(f"it has more than {MOST_OPERATIONS:,} operations")
        _step(opcode.name, argument, stack, memo)
    return stack.pop()


def _step(operation: str, argument: Any, stack: list, memo: dict[int, Any]) -> None:
    """One operation. It adds no more to the stack than its argument, or a reference."""
    match operation:
        case "PROTO" | "FRAME" | "STOP":
            pass
        case "MARK":
            stack.append(_MARK)
        case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
            memo[len(memo) if operation == "MEMOIZE" else argument] = stack[-1]
        case "GET" | "BINGET" | "LONG_BINGET":
            stack.append(memo[argument])
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            stack.append(tuple(_popped(stack, int(operation[-1]))))
        case "TUPLE" | "EMPTY_TUPLE":
            stack.append(tuple(_since_mark(stack)) if operation == "TUPLE" else ())
        case "DICT" | "EMPTY_DICT":
            stack.append(_filled({}, _since_mark(stack) if operation == "DICT" else []))
        case "SETITEM" | "SETITEMS":
            items = _since_mark(stack) if operation == "SETITEMS" else _popped(stack, 2)
            _filled(stack[-1], items)
        case "GLOBAL":
            stack.append(_name(*argument.split(" ", 1)))
        case "STACK_GLOBAL":
            stack.append(_name(*_popped(stack, 2)))
        case "REDUCE":
            stack.append(_made(*_popped(stack, 2)))
        case "BUILD":
            (state,) = _popped(stack, 1)
            _complete(stack[-1], state)
        case "NEWTRUE" | "NEWFALSE":
            stack.append(operation == "NEWTRUE")
        case _ if operation in _CONSTANTS:
            stack.append(argument)
        case _:
            raise ValueError(f"it has the operation {operation}, which weights do not need")


_CONSTANTS = {
    *("NONE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


def _popped(stack: list, count: int) -> list:
    values = [stack.pop() for _ in range(count)]
    return values[::-1]


def _since_mark(stack: list) -> list:
    values = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _filled(mapping: dict, items: list) -> dict:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not (isinstance(mapping, dict) and isinstance(key, str)):
            raise ValueError("it sets an item of something else than a dict by name")
        mapping[key] = value
    return mapping


def _name(module: str, name: str) -> _Name:
    """A function or type that weights need; the same name for all versions of its library."""
    module = {"__builtin__": "builtins", "dill.dill": "dill._dill"}.get(module, module)
    if module.startswith("numpy._core."):
        module = module.replace("._core.", ".core.", 1)
    if module == "numpy.core._multiarray_umath":
        module = "numpy.core.multiarray"
    if f"{module}.{name}" not in _NAMES:
        asked = f"{cut(module)}.{cut(name)}"
        raise ValueError(f"it asks for {asked}, which weights do not need and which was not run")
    return _Name(f"{module}.{name}")


_NAMES = {
    *("builtins.dict", "collections.defaultdict", "_codecs.encode", "numpy.dtype", "numpy.ndarray"),
    *(f"numpy.core.{name}" for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")),
    *(f"dill._dill.{name}" for name in ("_create_array", "_load_type", "_import_module", "_get_attr")),
}


def _made(function: _Name, arguments: tuple) -> Any:
    """The result that a call would have."""
    match function.name, arguments:
        case "builtins.dict", (dict() as given,):
            return given
        case ("builtins.dict", ()) | ("collections.defaultdict", _):
            return {}
        case "_codecs.encode", (str() as text, "latin1"):
            return text
        case "numpy.dtype", (("f2" | "f4" | "f8") as code, *_):
            return _DType(code)
        case "numpy.core.multiarray._reconstruct", _:
            return _Array()
        case "numpy.core.multiarray.scalar", (dtype, data):
            return _Array(data, dtype)
        case "numpy.core.numeric._frombuffer", (data, dtype, shape, order):
            return _Array(data, dtype, shape, order)
        case "dill._dill._create_array", (make, given, state, *attributes) if not any(attributes):
            return _complete(_made(make, given), state)
        case "dill._dill._load_type", ("dict" | "DictType",):
            return _Name("builtins.dict")
        case "dill._dill._import_module", (str() as module, *_):
            return module
        case "dill._dill._get_attr", (str() as module, str() as name):
            return _name(module, name)
    raise ValueError(f"it asks for {short(function)} of {short(arguments)}, which weights do not need")


def _complete(value: _Array | _DType, state: tuple) -> _Array | _DType:
    """Sets the state of an array or its type, as a pickle does after it has made one."""
    match value, state:
        case _DType(), (_, ("<" | ">" | "=" | "|") as order, *_):
            value.order = order
        case _Array(), (_, shape, dtype, column_major, data):
            value.data, value.dtype, value.shape, value.order = data, dtype, shape, "F" if column_major else "C"
        case _:
            raise ValueError(f"it changes {short(value)}")
    return value
