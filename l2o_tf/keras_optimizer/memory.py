"""What a Keras optimizer remembers of the variables that it trains: written to files, and found again.

A file of weights names the variables to which the state belongs. It may be loaded with other layers frozen, under other
names, or in another process. Each variable gets the memory of the variable before that has the same shape and

1. the same place in the list, if shapes agree place by place, paths do not, and either all values agree or none is in
   both lists (the model was trained further in between);
2. else the same value: a file holds the values of the model, too. A value that occurs once tells which layer is which.
   Of several equal values (biases of zero), the one of the same layer is taken, else the next;
3. else the same path; or the same end of it (`dense/lora_kernel_a`), if there is one such.

Paths alone are not enough: the names that Keras makes (`dense_3`) count up in a process. So once a layer is found under
another name, the paths of layers that are not found are ignored.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.common import reading
from l2o_tf.common.quoting import few
from l2o_tf.keras_optimizer import state_rows

VARIABLES = "variables"  # key of a file under which the identities of its variables are
MOST_VARIABLES = 10_000  # that a file may describe; no model has that many
Learned = keras.optimizers.Optimizer  # a `LearnedOptimizer`, whose module imports this one


class Identity(NamedTuple):
    """By what a variable is recognised: its path (`"sequential/dense_3/kernel"`), shape, and a digest of its value."""

    path: str
    shape: tuple[int, ...]
    digest: str


def value_of(variable: keras.Variable | tf.Variable) -> tf.Variable:
    """TensorFlow's variable within Keras's."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def path_of(variable: keras.Variable | tf.Variable) -> str:
    """The path of a variable; the name of one that has no path."""
    return getattr(variable, "path", variable.name)


def identity(path: str, value: np.ndarray) -> Identity:
    """The identity of a variable."""
    digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
    return Identity(path, tuple(value.shape), digest)


def _identities(optimizer: Learned) -> list[Identity]:
    return [identity(path_of(v), value_of(v).numpy()) for v in optimizer._trainable_variables]


def variables_of(optimizer: Learned) -> dict[str, Any]:
    """The variables in which the memory is: number of a variable -> its average and its sum of gradients; states.

    The learned optimizer's are as it holds them; here and in files the state is in rows.
    """
    averages = optimizer._model_variables_moving_average if optimizer.use_ema else []
    accumulated = optimizer._accumulated_gradients if optimizer.gradient_accumulation_steps else []
    learned, watch = optimizer.state
    return {
        "average": {str(i): variable for i, variable in enumerate(averages) if variable is not None},
        "accumulated": {str(i): variable for i, variable in enumerate(accumulated)},
        "learned": learned,
        "watch": watch,
    }


def memory_of(optimizer: Learned) -> dict[str, Any]:
    """What is known of the variables now, as arrays; the learned optimizer's state in rows."""
    variables = variables_of(optimizer)
    held = tf.nest.map_structure(tf.convert_to_tensor, variables["learned"])
    return tf.nest.map_structure(lambda x: x.numpy(), variables | {"learned": optimizer.loop.leave(held)})


def remember(optimizer: Learned, old: Mapping[str, Any], shapes: Sequence, kept: Sequence[int | None]) -> None:
    """Copies what was known of variables of these shapes; parts may be missing in `old`. `kept`: see `same`."""
    variables = variables_of(optimizer)
    values = {str(i): value_of(variable).numpy() for i, variable in enumerate(optimizer._trainable_variables)}
    learned, watch = tf.nest.map_structure(np.array, optimizer.initial_state(values))
    new = {
        "average": {i: values[i] for i in variables["average"]},
        "accumulated": {i: np.zeros(variable.shape) for i, variable in variables["accumulated"].items()},
        "learned": learned,
        "watch": watch,
    }
    kinds = dict(zip(new, (*[state_rows.Kind.ENTRIES] * 2, *optimizer.kinds_of_state()), strict=True))
    sizes = ([math.prod(shape) for shape in shapes], [value.size for value in values.values()])
    found = {
        part: state_rows.carried(kinds[part], old[part], initial, kept, *sizes) if part in old else initial
        for part, initial in new.items()
    }
    rows = tf.nest.map_structure(tf.convert_to_tensor, found["learned"])
    _assign(variables, found | {"learned": optimizer.loop.enter(rows)})


def _assign(variables: Any, values: Any) -> None:
    for variable, value in zip(tf.nest.flatten(variables), tf.nest.flatten(values), strict=True):
        variable.assign(value)


def _own_variables(optimizer: Learned) -> dict[str, keras.Variable]:
    """The variables that belong to no variable of the model, by name: iteration, learning rate, loss."""
    others = set(map(id, tf.nest.flatten(variables_of(optimizer))))
    return {variable.name: variable for variable in optimizer.variables if id(variable) not in others}


def save(optimizer: Learned, store: MutableMapping[str, Any]) -> None:
    """Stores everything by name, and the identities of the model's variables."""
    for name, variable in _own_variables(optimizer).items():
        store[name] = variable.numpy()
    for part, known in memory_of(optimizer).items():
        by_number = known if part in ("average", "accumulated") else dict(enumerate(tf.nest.flatten(known)))
        for i, value in by_number.items():
            store[f"{part}_{i}"] = value
    store[VARIABLES] = np.frombuffer(json.dumps(_identities(optimizer)).encode(), np.uint8)


def load_numbered(optimizer: Learned, store: Mapping[str, Any]) -> bool:
    """Loads a file of an earlier version, which has no names; False if a shape is another one."""
    learned = variables_of(optimizer)["learned"]
    rows = tf.nest.flatten(
        state_rows.shapes(optimizer.initial_state, [v.shape for v in optimizer._trainable_variables])[0]
    )
    shapes = dict(zip(map(id, tf.nest.flatten(learned)), rows, strict=True))
    try:
        values = [_array(store, str(i), shapes.get(id(v), v.shape)) for i, v in enumerate(optimizer.variables)]
    except ValueError:
        return False
    state = []
    for variable, value in zip(optimizer.variables, values, strict=True):
        if id(variable) in shapes:
            state.append(tf.convert_to_tensor(value))
        else:
            variable.assign(value)
    _assign(learned, optimizer.loop.enter(tf.nest.pack_sequence_as(learned, state)))
    return True


def load(optimizer: Learned, store: Mapping[str, Any]) -> str:
    """Gives each variable the state of the same variable in a file; returns what was left out, or begins anew."""
    try:
        before, old = _read(optimizer, store)
        keys, variables = set(store.keys()), _own_variables(optimizer)
        own = {name: _array(store, name, v.shape) for name, v in variables.items() if name in keys}
    except Exception:  # whatever a damaged or hostile file leads to
        expected = optimizer.learned.name
        return f"begins anew, since the file has that of another optimizer, or is damaged ({expected} is expected)"
    for name, value in own.items():
        variables[name].assign(value)
    now = _identities(optimizer)
    kept = same(before, now)
    remember(optimizer, old, [variable.shape for variable in before], kept)
    lost = [variable.path for i, variable in enumerate(before) if i not in kept]
    fresh = [variable.path for i, variable in zip(kept, now, strict=True) if i is None]
    told = [
        *([f"left out for {few(lost, ', ')} (not trained here)"] if lost else []),
        *([f"begins anew for {few(fresh, ', ')}"] if fresh else []),
    ]
    return "; ".join(told)


def _read(optimizer: Learned, store: Mapping[str, Any]) -> tuple[list[Identity], dict[str, Any]]:
    """The variables that a file describes, and what it remembers of them. It may be anybody's."""
    text = _array(store, VARIABLES, most=reading.MOST_JSON_BYTES)
    described = reading.parse_json(bytes(text))
    if len(described) > MOST_VARIABLES:
        raise ValueError(f"it has more than {MOST_VARIABLES:,} variables")
    variables = [Identity(str(path), tuple(shape), str(digest)) for path, shape, digest in described]
    shapes = [variable.shape for variable in variables]
    numbers: dict[str, list[int]] = {"average": [], "accumulated": [], "learned": [], "watch": []}
    for key in store.keys():  # noqa: SIM118  Keras's stores have no other iterator
        part, _, number = key.rpartition("_")
        if part in numbers and number.isdecimal():
            numbers[part].append(int(number))
    memory: dict[str, Any] = {
        part: {str(i): _array(store, f"{part}_{i}", shapes[i]) for i in numbers[part]}
        for part in ("average", "accumulated")
    }
    learned, watch = state_rows.shapes(optimizer.initial_state, shapes)
    for part, state in {"learned": learned, **({"watch": watch} if watch and numbers["watch"] else {})}.items():
        pairs = zip(sorted(numbers[part]), tf.nest.flatten(state), strict=True)
        memory[part] = tf.nest.pack_sequence_as(state, [_array(store, f"{part}_{i}", shape) for i, shape in pairs])
    return variables, memory


def _array(store: Mapping[str, Any], key: str, shape: Sequence[int] | None = None, most: int = 0) -> np.ndarray:
    """An array of this shape, or of any up to this size. Keras's stores read what they are asked for; HDF5 does not."""
    known = getattr(store, "_h5_entry_group", store)
    found = tuple((known if key in known else store)[key].shape)
    if math.prod(found) > most if shape is None else found != tuple(shape):
        raise ValueError(f"Received an array of shape {found}, expected {shape or most}.")
    return np.array(store[key])


def same(before: Sequence[Identity], now: Sequence[Identity]) -> list[int | None]:
    """For every variable now, its number before, or None; see the module's docstring."""
    if [v.shape for v in before] == [v.shape for v in now] and {v.path for v in before} != {v.path for v in now}:
        agree = [old.digest == new.digest for old, new in zip(before, now, strict=True)]
        if all(agree) or not {v.digest for v in before} & {v.digest for v in now}:
            return list(range(len(now)))
    kept: list[int | None] = [None] * len(now)
    _pair(kept, before, now, lambda v: (v.shape, v.digest), once=True)
    layers = {_layer(v.path): _layer(before[i].path) for i, v in zip(kept, now, strict=True) if i is not None}
    renamed = any(old != new for new, old in layers.items())
    now = [_renamed(v, layers.get(_layer(v.path), None if renamed else _layer(v.path))) for v in now]
    _pair(kept, before, now, lambda v: (v.shape, v.digest, v.path))
    _pair(kept, before, now, lambda v: (v.shape, v.digest))
    _pair(kept, before, now, lambda v: (v.shape, v.path))
    _pair(kept, before, now, lambda v: (v.shape, *v.path.split("/")[-2:]), once=True)
    return kept


def _pair(kept: list, before: Sequence[Identity], now: Sequence[Identity], key: Callable, once: bool = False) -> None:
    """Finds, in their order, what is left and has the same key; with `once`, only where no other has that key."""
    places: dict[tuple, tuple[list[int], list[int]]] = {}
    found = set(kept)
    for i, variable in enumerate(before):
        if i not in found:
            places.setdefault(key(variable), ([], []))[0].append(i)
    for j, variable in enumerate(now):
        if kept[j] is None:
            places.setdefault(key(variable), ([], []))[1].append(j)
    for old, new in places.values():
        if not once or len(old) == len(new) == 1:
            for i, j in zip(old, new, strict=False):
                kept[j] = i


def _layer(path: str) -> str:
    return path.rpartition("/")[0]


def _renamed(variable: Identity, layer: str | None) -> Identity:
    """With the path that it had before in this layer; None: no path at all, since names have changed."""
    return variable._replace(path="" if layer is None else f"{layer}/{variable.path.rpartition('/')[2]}".lstrip("/"))
