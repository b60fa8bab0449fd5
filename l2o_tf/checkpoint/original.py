"""Reads the weights that the original program of Chen et al. (2020) has saved, without running what they say.

Its files, `cw.l2l-0` and `rp.l2l-0` for example, are pickles of `{module: {variable: array}}`. A pickle is a program:
it names functions and calls them. Here the names do not lead to those functions. Each of the few that such a file
needs leads to a stand-in of this module, which builds dicts and arrays and can do nothing else; every other name is an
error. Nothing is imported, and not even NumPy's own unpickling code sees the file.

L2O-Scale is the exception: that program saves a checkpoint of TensorFlow 1, see `tensorflow1`.

The names are those that `pickle` (protocols 0 to 5) and `dill` write for a `defaultdict(dict)` of arrays, with NumPy 1
and 2.
"""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from l2o_tf.checkpoint import tensorflow1
from l2o_tf.checkpoint.weights import Weights, check_usable
from l2o_tf.reading import read_npz


def import_original(path: str | os.PathLike) -> Weights:
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
        raise ValueError(f"Received {path} with the keys {misnamed}, expected module/variable.")
    return {name: np.asarray(value, np.float32, order="C") for name, value in weights.items()}


def _read(path: Path) -> Weights:
    if tensorflow1.files(path):
        return tensorflow1.read(path)
    data = path.read_bytes()
    return read_npz(data, path) if data.startswith(b"PK\x03\x04") else _read_pickle(data, path)


def _read_pickle(data: bytes, path: Path) -> Weights:
    try:
        tree = _Unpickler(data).load()
        weights = {
            f"{module}/{variable}": value.array() for module, of in tree.items() for variable, value in of.items()
        }
    except Exception as error:  # Whatever a damaged or hostile pickle may lead to, it is the file's fault.
        raise ValueError(
            f"Received {path}, which cannot be read as weights of the original program ({error}). Expected a pickle of "
            "{module: {variable: array}} or an .npz file with keys module/variable."
        ) from error
    return weights


class _Unpickler(pickle.Unpickler):
    """Looks names up in `_STAND_INS`, never in modules."""

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        return _stand_in(module, name)


def _stand_in(module: str, name: str) -> Any:
    module = {"__builtin__": "builtins", "dill.dill": "dill._dill"}.get(module, module)
    if module.startswith("numpy._core."):
        module = module.replace("._core.", ".core.", 1)
    if module == "numpy.core._multiarray_umath":
        module = "numpy.core.multiarray"
    if (module, name) not in _STAND_INS:
        raise ValueError(f"it asks for {module}.{name}, which weights do not need and which was not run")
    return _STAND_INS[module, name]


class _Function:
    """A function that a pickle may call but not change: what it says about the state of one is refused."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)

    def __setstate__(self, state):
        raise ValueError("it changes a function")


class _DType:
    """Stand-in of `numpy.dtype`; knows floating-point numbers only."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        del align, copy
        if code not in ("f2", "f4", "f8"):
            raise ValueError(f"it holds numbers of type {code!r}, expected floating-point numbers")
        self._code, self._order = code, "="

    def __setstate__(self, state):
        if state[1] not in ("<", ">", "=", "|"):
            raise ValueError(f"it has a byte order of {state[1]!r}")
        self._order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(self._order + self._code)


class _Array:
    """Stand-in of `numpy.ndarray`: empty at first, filled when the pickle comes to its state."""

    __slots__ = ("_array",)

    def __init__(self, *args):
        del args
        self._array = None

    def __setstate__(self, state):
        version, shape, dtype, column_major, data = state
        del version
        self.fill(data, dtype, shape, "F" if column_major else "C")

    def fill(self, data: bytes | bytearray | str, dtype: _DType, shape: tuple[int, ...], order: str) -> "_Array":
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        self._array = np.frombuffer(raw, dtype.numpy()).reshape(shape, order=order)
        return self

    def array(self) -> np.ndarray:
        if self._array is None:
            raise ValueError("an array has no content")
        return self._array


def _make_array(make: Callable, args: tuple, state: tuple, attributes: None = None) -> _Array:
    """How dill writes an array."""
    if attributes:
        raise ValueError("an array has attributes")
    array = make(*args)
    array.__setstate__(state)
    return array


def _make_type(name: str) -> type:
    """How dill writes a type; older versions name them as the module `types` once did."""
    if name not in ("dict", "DictType"):
        raise ValueError(f"it asks for the type {name!r}, which weights do not need")
    return dict


def _encode(text: str, encoding: str) -> bytes:
    """How protocols 0 to 2 write bytes."""
    if encoding != "latin1":
        raise ValueError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("builtins", "dict"): dict,
    ("collections", "defaultdict"): _Function(lambda factory=None: {}),
    ("_codecs", "encode"): _Function(_encode),
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Function(_Array),
    ("numpy.core.multiarray", "scalar"): _Function(lambda dtype, data: _Array().fill(data, dtype, (), "C")),
    ("numpy.core.numeric", "_frombuffer"): _Function(
        lambda data, dtype, shape, order: _Array().fill(data, dtype, shape, order)
    ),
    ("dill._dill", "_create_array"): _Function(_make_array),
    ("dill._dill", "_load_type"): _Function(_make_type),
    # A module is nothing but its name here, and its attributes are those of this table.
    ("dill._dill", "_import_module"): _Function(lambda name, safe=False: name),
    ("dill._dill", "_get_attr"): _Function(lambda module, name: _stand_in(str(module), name)),
}
