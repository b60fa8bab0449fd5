"""What a Keras optimizer remembers of its variables: read from its state, given back, written to files and found again.

A file of weights names the variables to which the state belongs. It may be loaded with other layers frozen: each
variable gets the state of the same variable in the file (`variable_memory` says which that is).
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.common.quoting import few
from l2o_tf.keras_optimizer import state_rows, variable_memory
from l2o_tf.keras_optimizer.variable_memory import Memory, Stored

Learned = keras.optimizers.Optimizer
"""A `LearnedOptimizer`, whose module imports this one."""


def value_of(variable: keras.Variable | tf.Variable) -> tf.Variable:
    """TensorFlow's variable within Keras's."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def path_of(variable: keras.Variable | tf.Variable) -> str:
    """The path of a variable; the name of one that has no path."""
    return getattr(variable, "path", variable.name)


def memory_of(optimizer: Learned) -> Memory:
    """What is known of the variables now."""
    averages, accumulated = (
        {i: variable.numpy() for i, variable in each.items()}
        for each in (_averages(optimizer), _accumulators(optimizer))
    )
    learned, watch = tf.nest.map_structure(lambda variable: variable.numpy(), optimizer.state)
    return Memory([tuple(v.shape) for v in optimizer._trainable_variables], averages, accumulated, learned, watch)


def remember(optimizer: Learned, old: Memory, kept: Sequence[int | None]) -> None:
    """Copies what was known. `kept`: for every variable its number in `old`, or None, where it begins anew."""
    values = {str(i): value_of(variable).numpy() for i, variable in enumerate(optimizer._trainable_variables)}
    learned, watch = tf.nest.map_structure(np.array, optimizer.initial_state(values))
    new = Memory(
        [value.shape for value in values.values()],
        {i: values[str(i)] for i in _averages(optimizer)},
        {i: np.zeros(variable.shape) for i, variable in _accumulators(optimizer).items()},
        learned,
        watch,
    )
    found = variable_memory.carried(optimizer.kinds_of_state(), old, new, kept)
    for variable, value in zip(remembering(optimizer), tf.nest.flatten(list(found[1:])), strict=True):
        variable.assign(value)


def _averages(optimizer: Learned) -> dict[int, keras.Variable]:
    found = optimizer._model_variables_moving_average if optimizer.use_ema else []
    return {i: variable for i, variable in enumerate(found) if variable is not None}


def _accumulators(optimizer: Learned) -> dict[int, keras.Variable]:
    return dict(enumerate(optimizer._accumulated_gradients if optimizer.gradient_accumulation_steps else []))


def remembering(optimizer: Learned) -> list[keras.Variable]:
    """The variables in which a `Memory` is, in its order."""
    return tf.nest.flatten([_averages(optimizer), _accumulators(optimizer), *optimizer.state])


def _own_variables(optimizer: Learned) -> dict[str, keras.Variable]:
    """The variables that belong to no variable of the model, by name: iteration, learning rate, loss."""
    others = set(map(id, remembering(optimizer)))
    return {variable.name: variable for variable in optimizer.variables if id(variable) not in others}


def _identities(optimizer: Learned) -> list[variable_memory.Identity]:
    return [variable_memory.identity(path_of(v), value_of(v).numpy()) for v in optimizer._trainable_variables]


def save(optimizer: Learned, store: MutableMapping[str, Any]) -> None:
    """Stores everything by name, and the identities of the model's variables."""
    own = {name: variable.numpy() for name, variable in _own_variables(optimizer).items()}
    for name, value in (own | variable_memory.to_arrays(_identities(optimizer), memory_of(optimizer))).items():
        store[name] = value


def load(optimizer: Learned, store: Mapping[str, Any]) -> str:
    """Gives each variable the state of the same variable in a file that `save` has written.

    Returns:
        What was left out, and what begins anew; empty if all is as it was.
    """
    keys = set(store.keys())
    try:
        before, old = variable_memory.from_arrays(
            store, lambda shapes: state_rows.shapes(optimizer.initial_state, shapes)
        )
        own = [(v, Stored(store, name)) for name, v in _own_variables(optimizer).items() if name in keys]
        if any(found.shape != tuple(variable.shape) for variable, found in own):
            raise ValueError("is damaged")
    except ValueError as error:
        return f"begins anew, since the file {error} ({optimizer.learned.name} is expected)"
    for variable, found in own:
        variable.assign(np.array(found))
    now = _identities(optimizer)
    kept = variable_memory.same(before, now)
    remember(optimizer, old, kept)
    lost = [variable.path for i, variable in enumerate(before) if i not in kept]
    fresh = [variable.path for i, variable in zip(kept, now, strict=True) if i is None]
    told = [
        *([f"left out for {few(lost, ', ')} (not trained here)"] if lost else []),
        *([f"begins anew for {few(fresh, ', ')}"] if fresh else []),
    ]
    return "; ".join(told)


def has_names(store: Mapping[str, Any]) -> bool:
    """Whether a file names its variables. Those of earlier versions do not."""
    return variable_memory.VARIABLES in set(store.keys())


def shapes_agree(optimizer: Learned, store: Mapping[str, Any]) -> bool:
    """Whether a file without names has the optimizer's variables, by their shapes; also if it has another number."""
    if len(store.keys()) != len(optimizer.variables):
        return True  # Keras says so itself
    found = [Stored(store, str(i)).shape for i in range(len(optimizer.variables))]
    return found == [tuple(variable.shape) for variable in optimizer.variables]
