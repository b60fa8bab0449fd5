"""Refuses arguments of a constructor that do nothing."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from l2o_tf.common.quoting import short


def require_effect(
    constructor: type, given: Mapping[str, Any], needs: Mapping[str, tuple[bool, Sequence[str]]]
) -> None:
    """Refuses an argument that is not its default where it has no effect.

    Args:
        constructor: the class, whose constructor has the defaults.
        given: argument -> value.
        needs: what some arguments need, in words -> (whether it is there, these arguments).

    Raises:
        ValueError: if there is such an argument.
    """
    parameters = inspect.signature(constructor).parameters
    for needed, (is_there, arguments) in needs.items():
        for name in arguments:
            if not is_there and given[name] != parameters[name].default:
                raise ValueError(f"Received {name}={short(given[name])}, which does nothing without {needed}. Drop it.")
