"""Optimizers of the user's own, by `path/to/file.py:Class`: what `--optimizer` takes besides a name.

`Class` is a Keras RNN cell, as `CoordinatewiseOptimizer` runs it: a `keras.layers.Layer` whose inputs are gradients
`[N, 1]` and whose outputs are updates `[N, 1]`; what its `get_config` returns is stored with the weights and handed to
`from_config`. Or it is a subclass of `Optimizer`, any rule; what its `architecture` says is stored and handed to the
constructor. `--architecture` sets the arguments of the constructor. Where it takes a `seed`, it gets the run's.
"""

import inspect
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.optimizers import contract
from l2o_tf.optimizers.base import CoordinatewiseOptimizer, Optimizer, Params, Step
from problems import from_file
from problems.base import make_seed
from problems.common.user_errors import describe

_WHAT = "path/to/file.py:Class"


def own_class(name: str) -> type[keras.layers.Layer] | type[Optimizer]:
    """The class called `path/to/file.py:Class`; ValueError if there is none, or it is neither a cell nor a rule."""
    module = from_file.module(name, what=f"optimizer {name!r}", expected=_WHAT)
    found = getattr(module, name.partition(".py:")[2], None)
    if not _is_own(found):
        own = [key for key, value in vars(module).items() if _is_own(value) and value.__module__ == module.__name__]
        raise ValueError(f"Received optimizer {name!r}, expected {_WHAT} with one of {own}.")
    base, parts = keras.layers.Layer, ("get_initial_state", "call", "get_config")
    if issubclass(found, Optimizer):
        base, parts = Optimizer, ("initial_state", "update")
    missing = [part for part in parts if getattr(found, part, None) is getattr(base, part, None)]
    if missing:
        kind = "an optimizer" if base is Optimizer else "a layer"
        raise ValueError(f"Received optimizer {name!r}, {kind} without {missing}; see docs/adding-an-optimizer.md.")
    return found


def initial_architecture(name: str, seed: int, given: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Arguments of a new optimizer: those given, and the seed, if it takes one; ValueError if one is missing."""
    parameters = inspect.signature(own_class(name)).parameters
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [each.name for each in parameters.values() if each.default is each.empty and each.kind not in optional]
    missing = [each for each in needed if each not in given and each != "seed"]
    if missing:
        entries = ",".join(f"{each}=..." for each in missing)
        raise ValueError(
            f"Received optimizer {name!r}, whose constructor needs {missing}; pass --architecture={entries}, or give "
            "its arguments defaults."
        )
    return {**given, **({"seed": seed} if "seed" in parameters else {})}


def make(name: str, architecture: Mapping[str, Any]) -> Optimizer:
    """The optimizer, tried once; ValueError if its class or constructor refuse, or it breaks its contract."""
    kind = own_class(name)
    is_rule = issubclass(kind, Optimizer)
    try:
        made = kind(**architecture) if is_rule else kind.from_config(dict(architecture))
    except Exception as error:  # the user's code
        raise ValueError(f"Received optimizer {name!r}, whose constructor raised {describe(error)}.") from error
    if not is_rule:
        contract.check(made, name)
        return CoordinatewiseOptimizer(made, name)
    _check_rule(made, name)
    made.name = made.kind = name
    return made


def _is_own(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, keras.layers.Layer | Optimizer) and value is not Optimizer


_PARAMS = {"a": np.float32([[0.5, -2.0], [0.1, 3.0]]), "b": np.float32([1.0, -0.3, 0.0])}
_GRADS = ({"a": [[0.1, -2.0], [1e-3, 30.0]], "b": [0.2, -1.0, 0.0]}, {"a": [[3.0, 1.0], [-1e-3, 5.0]], "b": [1, 2, 3]})


def _check_rule(rule: Optimizer, name: str) -> None:
    """Refuses a rule whose updates have other names or shapes, that is not pure, or cannot be made again."""
    played = contract.pure(lambda: _play(rule, name, _PARAMS, _GRADS), name)
    with contract.of_the_user(name, "whose `architecture` does not make it again: it"):
        again = type(rule)(**json.loads(json.dumps(rule.architecture)))
    weights, others = ({key: tuple(v.shape) for key, v in each.named_variables.items()} for each in (rule, again))
    if weights != others:
        raise contract.broken(name, f"whose `architecture` makes weights {others}, expected {weights}")
    for key, variable in again.named_variables.items():
        variable.assign(rule.named_variables[key])
    with contract.of_the_user(name, "of which a step, made again,"):
        if not contract.same(played, _play(again, name, _PARAMS, _GRADS)):
            raise contract.broken(name, "which gives other updates when it is made again from its `architecture`")
        if rule.coordinatewise and not _is_coordinatewise(rule, name, played[0]):
            raise contract.broken(name, "which is said to be coordinatewise and depends on the other coordinates")


def _play(rule: Optimizer, name: str, params: Params, gradients) -> tuple[list[Params], Any]:
    """The updates of some steps, and the state after them; checks what each step returns."""
    params = {key: tf.constant(value) for key, value in params.items()}
    state, updates = rule.initial_state(params, make_seed(0)), []
    for t, grads in enumerate(gradients):
        grads = {key: tf.constant(value, tf.float32) for key, value in grads.items()}
        step = Step(grads, params, tf.constant(2.0), tf.constant(t), tf.constant(len(gradients)))
        returned, wanted = rule.update(step, state), (params, state)
        in_order = isinstance(returned, tuple) and len(returned) == 2 and list(returned[0]) == list(params)
        if not in_order or contract.described(returned) != contract.described(wanted):
            raise contract.broken(
                name,
                f"whose `update` returns {contract.described(returned)}, expected (updates, state) like parameters and "
                f"state, {contract.described(wanted)}",
            )
        updates.append(returned[0])
        state = returned[1]
    return updates, state


def _is_coordinatewise(rule: Optimizer, name: str, updates: list[Params]) -> bool:
    """Whether the first coordinates get the same updates without the others."""
    params, grads = {"a": _PARAMS["a"][0]}, [{"a": np.float32(each["a"])[0]} for each in _GRADS]
    alone = _play(rule, name, params, grads)[0]
    return all(contract.same(one["a"][0], few["a"]) for one, few in zip(updates, alone, strict=True))
