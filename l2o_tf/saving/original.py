"""Reads the weights that the original program of Chen et al. (2020) has saved, without running what they say.

Its files, `cw.l2l-0` for example, are pickles of `{module: {variable: array}}`. A pickle is a program: it names
functions and calls them. Here it is read operation by operation; a call becomes a record, from which an array is made
at the end. Nothing is imported or called. What weights do not need is an error. The names are those that `pickle`
(protocols 0 to 5) and `dill` write for a `defaultdict(dict)` of arrays, with NumPy 1 and 2.

A `pickle.Unpickler` that refuses all other names would not be safe: `find_class` is not asked about sizes. A memo
number in a file of six bytes makes it reserve 34 GB, a `BYTEARRAY8` what that claims to hold, and a dictionary whose
key is a nest of tuples keeps it busy for ever.

L2O-Scale is the exception: that program saves a checkpoint of TensorFlow 1, see `tensorflow1`.
"""

import dataclasses
import hashlib
import os
import pickletools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2o_tf.common.quoting import cut, few, reason, short
from l2o_tf.common.reading import MOST_BYTES, read_bytes, read_npz
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
        ValueError: if the file is damaged, or holds anything but arrays of finite floating-point numbers.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    if tensorflow1.files(path):
        weights = tensorflow1.read(path)
    else:
        data = read_bytes(path, 2 * MOST_BYTES)
        weights = read_npz(data, path) if data.startswith(b"PK\x03\x04") else _read_pickle(data, path)
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
    """Reads weights of the original program, checks that they are of this kind (`"L2O-DM"`), and saves them.

    Returns:
        Name -> shape.

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


def _read_pickle(data: bytes, path: Path) -> Arrays:
    try:
        found, total = {}, 0
        for module, variables in _value(data).items():
            for variable, record in variables.items():
                found[f"{module}/{variable}"] = array = _array(record)
                total += array.nbytes
                if total > MOST_BYTES:
                    raise ValueError(f"it holds more than {MOST_BYTES:,} bytes of arrays")
        return found
    except Exception as error:  # Whatever a damaged or hostile pickle may lead to, it is the file's fault.
        raise ValueError(
            f"Received {path}, which cannot be read as weights of the original program ({reason(error)}). Expected a "
            "pickle of {module: {variable: array}} or an .npz file with keys module/variable."
        ) from error


class _Name(NamedTuple):
    """A function or type that a pickle names."""

    name: str


@dataclasses.dataclass
class _Call:
    """A call that a pickle asks for, and the state that it gives to what would be returned."""

    name: str
    arguments: tuple
    state: tuple = ()


def _value(data: bytes) -> Any:
    """What a pickle describes: dicts, tuples, numbers, texts, `_Name` and `_Call`."""
    stacks, memo = [[]], {}  # the last stack is that above the last mark
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MOST_OPERATIONS:
            raise ValueError(f"it has more than {MOST_OPERATIONS:,} operations")
        match opcode.name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if argument is None else argument] = stacks[-1][-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stacks[-1].append(memo[argument])
            case "MARK":
                stacks.append([])
            case _:
                marked = [stacks.pop()] if pickletools.markobject in opcode.stack_before else []
                below = [stacks[-1].pop() for _ in range(len(opcode.stack_before) - 2 * len(marked))]
                stacks[-1].append(_result(opcode.name, argument, below[::-1] + marked))
    return stacks[-1].pop()


def _result(operation: str, argument: Any, taken: list) -> Any:
    """What an operation puts in the place of what it takes: a reference, or no more than its argument."""
    match operation, taken:
        case "TUPLE", [items]:
            return tuple(items)
        case (("EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3"), _):
            return tuple(taken)
        case ("EMPTY_DICT", []) | ("DICT", [[]]):
            return {}
        case ("SETITEM", [mapping, *items]) | ("SETITEMS", [mapping, items]):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not (isinstance(mapping, dict) and isinstance(key, str)):
                    raise ValueError("it sets an item of something else than a dict by name")
                mapping[key] = value
            return mapping
        case "GLOBAL", []:
            return _name(*argument.split(" ", 1))
        case "STACK_GLOBAL", [str() as module, str() as name]:
            return _name(module, name)
        case "REDUCE", [_Name(name), tuple() as arguments]:
            return _called(name, arguments)
        case "BUILD", [_Call() as call, tuple() as state]:
            call.state = state
            return call
        case (("NONE" | "NEWTRUE" | "NEWFALSE"), []):
            return operation == "NEWTRUE"  # where weights have None, False does as well
        case _, [] if isinstance(argument, int | str | bytes | bytearray):
            return argument
    raise ValueError(f"it has the operation {operation}, which weights do not need")


def _name(module: str, name: str) -> _Name:
    """A function or type that weights need; the same name for all versions of its library."""
    module = {"__builtin__": "builtins", "dill.dill": "dill._dill"}.get(module, module)
    module = module.replace("numpy._core.", "numpy.core.").replace("._multiarray_umath", ".multiarray")
    if f"{module}.{name}" not in _NAMES:
        asked = f"{cut(module)}.{cut(name)}"
        raise ValueError(f"it asks for {asked}, which weights do not need and which was not run")
    return _Name(f"{module}.{name}")


_NAMES = {
    *("builtins.dict", "collections.defaultdict", "_codecs.encode", "numpy.dtype", "numpy.ndarray"),
    *(f"numpy.core.{name}" for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")),
    *(f"dill._dill.{name}" for name in ("_create_array", "_load_type", "_import_module", "_get_attr")),
}


def _called(name: str, arguments: tuple) -> Any:
    """What a call would return, if that is a dict, a name or text; of every other call a record."""
    match name, arguments:
        case "builtins.dict", (dict() as given,):
            return given
        case ("builtins.dict", ()) | ("collections.defaultdict", _):
            return {}
        case "_codecs.encode", (str() as text, "latin1"):
            return text
        case "dill._dill._get_attr", (_Call("dill._dill._import_module", (str() as module, *_)), str() as attribute):
            return _name(module, attribute)
        case "dill._dill._create_array", (_Name(make), tuple() as given, tuple() as state, *rest) if not any(rest):
            return _Call(make, given, state)
    return _Call(name, arguments)


def _array(record: Any) -> np.ndarray:
    match record:
        case _Call("numpy.core.multiarray._reconstruct", _, (_, shape, dtype, column_major, data)):
            order = "F" if column_major else "C"
        case _Call("numpy.core.multiarray.scalar", (dtype, data)):
            shape, order = (), "C"
        case _Call("numpy.core.numeric._frombuffer", (data, dtype, shape, order)):
            pass
        case _:
            raise ValueError(f"it asks for {short(record)}, which is no array")
    match dtype:
        case _Call("numpy.dtype", (("f2" | "f4" | "f8") as code, *_), (_, ("<" | ">" | "=" | "|") as byte_order, *_)):
            raw = data.encode("latin1") if isinstance(data, str) else data
            return np.frombuffer(raw, byte_order + code).reshape(shape, order=order)
    raise ValueError(f"it holds numbers of the type {short(dtype)}, expected floating-point ones")
