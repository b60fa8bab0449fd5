"""The network that coordinate-wise optimizers share: a stack of LSTM layers, and how its weights begin.

Every coordinate of the optimizee is one row of a batch; rows never interact. An architecture makes features of the
gradient, hands them to `stack`, and makes an update of what comes out. Functions here are pure. `columns.py` has the
same functions for loops that have to be fast.
"""

import numbers
from collections.abc import Sequence

import keras
import tensorflow as tf

from l2o_tf.common.quoting import short
from l2o_tf.optimizers.cell import Weight, constant

AXIS = 1
"""The axis of features and units; the other one is that of coordinates."""


def check_layers(layers: Sequence[int]) -> None:
    """Raises ValueError for hidden sizes that are not positive, and for more than a hundred."""
    if len(layers) > 100:
        raise ValueError(f"Received {len(layers):,} layers, expected at most 100.")
    if any(units < 1 for units in layers):
        raise ValueError(f"Received layers={layers!r}, expected positive hidden sizes.")


MOST = 1e6
"""Limit for the numbers of an architecture: beyond it, float32 overflows soon."""


def check_numbers(**values: float) -> None:
    """Raises ValueError for what is no positive number, or a huge one, by name."""
    for name, value in values.items():
        if not isinstance(value, numbers.Real) or not 0.0 < value <= MOST:
            raise ValueError(f"Received {name}={short(value)}, expected a positive number, at most {MOST:,.0f}.")


def stack_weights(features: int, layers: Sequence[int]) -> dict[str, Weight]:
    """Weights of a stack: `lstm_1/w_gates [F + H, 4H]`, `lstm_1/b_gates [4H]`, ...

    As Sonnet 1 begins them: `1/√(F + H)` for matrices and for biases, too.
    """
    weights = {}
    for index, units in enumerate(layers, start=1):
        rows = features + units
        weights[f"lstm_{index}/w_gates"] = _normal((rows, 4 * units), rows**-0.5)
        weights[f"lstm_{index}/b_gates"] = _normal((4 * units,), rows**-0.5)
        features = units
    return weights


def linear_weights(name: str, inputs: int, outputs: int, stddev: float | None = None) -> dict[str, Weight]:
    """Weights of `x W + b`: `name/w` of `stddev` (default: `1/√inputs`, as in Sonnet 1), and `name/b` of zeros."""
    stddev = inputs**-0.5 if stddev is None else stddev
    return {f"{name}/w": _normal((inputs, outputs), stddev), f"{name}/b": constant((outputs,))}


def _normal(shape: tuple[int, ...], stddev: float) -> Weight:
    """Normal, cut at two standard deviations; `stddev` is that before the cut."""
    return Weight(shape, lambda seed: keras.initializers.TruncatedNormal(stddev=stddev, seed=seed))


def gates(inputs, h, w_gates, b_gates):
    """`[i, j, f, o] = [x, h] W + b`, each `[N, H]`, before their nonlinearities."""
    return tf.split(tf.matmul(tf.concat([inputs, h], axis=1), w_gates) + b_gates, 4, axis=1)


def step(inputs, h, c, w_gates, b_gates):
    """One step of an LSTM (Zaremba et al., 2014) with forget bias 1::

        [i, j, f, o] = [x, h] W + b
        c' = σ(f + 1) c + σ(i) tanh(j)
        h' = σ(o) tanh(c')

    The 1 is added at run time and is not part of `b_gates`, as in Sonnet 1, so released weights fit unchanged. (Keras
    orders the gates i, f, j, o and keeps the 1 in its bias.)

    Args:
        inputs: `[N, F]`.
        h, c: `[N, H]`.
        w_gates: `[F + H, 4H]`, rows of the inputs first.
        b_gates: `[4H]`.

    Returns:
        `(h', c')`, `[N, H]` each.
    """
    i, j, f, o = gates(inputs, h, w_gates, b_gates)
    c = tf.sigmoid(f + 1.0) * c + tf.sigmoid(i) * tf.tanh(j)
    return tf.sigmoid(o) * tf.tanh(c), c


def linear(inputs, w, b):
    """`x W + b`: `[N, F] -> [N, M]`."""
    return tf.matmul(inputs, w) + b


def stack(inputs, states, weights):
    """One step of all layers: `(features [N, F], [h_1, c_1, ...]) -> (outputs [N, H], [h_1', c_1', ...])`."""
    return run_layers(step, inputs, states, weights)


def run_layers(layer_step, inputs, states, weights):
    """`stack` for the `step` of any layout."""
    new_states = []
    for index in range(len(states) // 2):
        inputs, c = layer_step(inputs, *_layer(index, states, weights))
        new_states += [inputs, c]
    return inputs, new_states


def activations(inputs, states, weights):
    """Activations of the gates in that step, in (0, 1): at either end a gate is saturated and learns nothing."""
    found = {}
    for index in range(len(states) // 2):
        h, c, w_gates, b_gates = _layer(index, states, weights)
        i, _, f, o = gates(inputs, h, w_gates, b_gates)
        for name, gate in {"input": i, "forget": f + 1.0, "output": o}.items():
            found[f"gates/lstm_{index + 1}/{name}"] = tf.sigmoid(gate)
        inputs, _ = step(inputs, h, c, w_gates, b_gates)
    return found


def _layer(index, states, weights):
    """`(h, c, w_gates, b_gates)` of a layer."""
    name = f"lstm_{index + 1}"
    return *states[2 * index : 2 * index + 2], weights[f"{name}/w_gates"], weights[f"{name}/b_gates"]
