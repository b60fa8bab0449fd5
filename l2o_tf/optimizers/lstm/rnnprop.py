"""RNNprop: the coordinate-wise LSTM of Lv, Jiang and Li (2017), *Learning Gradient Descent: Better Generalization and
Longer Horizons*, as the original program of Chen et al. (2020) configures it.

The network does not see the gradient but what Adam and RMSProp make of it, which has the same size whatever the size of
the gradient, and its update is bounded. All of its memory, the moments included, is in the cell's states::

    m  <- β1 m + (1 - β1) g          m^ = m / (1 - β1^t)         # t = 1 at the first step
    v  <- β2 v + (1 - β2) g²         v^ = v / (1 - β2^t)
    m~ = m^ / (√v^ + ε)              g~ = g / (√v^ + ε)
    x        = ELU([m~, g~] W_in + b_in)                         # [N, 2] -> [N, 20]
    h1, c1   = LSTM_1(x,  h1, c1)                                # [N, 20]
    h2, c2   = LSTM_2(h1, h2, c2)                                # [N, 20]
    Δθ       = scale tanh(h2 W + b)                              # [N, 1], |Δθ| < scale

As v has seen g before it normalises it, `|g~| <= √((1 - β2^t) / (1 - β2))`, at most 4.47 for the default β2.

What the released program changed about the program of 2017 (https://github.com/vfleaking/rnnprop), and how to change
it back:

| | released, default here | 2017 |
|---|---|---|
| inputs | `[m~, g~]` | `[g~, m~]`: `feature_order="gm"` |
| output | `0.01 tanh(.)`, added | `0.1 tanh(.)`, subtracted: `scale=0.1`; the sign is in the weights |
| initial `W_in`, `W` | `1/√fan_in` | 0.1: `projection_stddev=0.1` |
"""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from l2o_tf.optimizers import preprocess
from l2o_tf.optimizers.lstm import rows
from l2o_tf.optimizers.lstm.cell import LSTMCell


def moments(g, m, v, t, beta_1: float, beta_2: float):
    """`(m, v, t)` after this step, from those before it and the gradient; all are `[N, 1]`."""
    return beta_1 * m + (1.0 - beta_1) * g, beta_2 * v + (1.0 - beta_2) * tf.square(g), t + 1.0


def normalised(g, m, v, t, beta_1: float, beta_2: float, epsilon: float):
    """`(m~, g~)` from the moments after this step; ε is outside of the root. 0 where g has always been 0."""
    t = tf.stop_gradient(t)
    size = _root(v / (1.0 - beta_2**t)) + epsilon
    return m / (1.0 - beta_1**t) / size, g / size


def _root(x):
    """√x, whose slope at 0 counts as 0 instead of infinity."""
    positive = x > 0.0
    return tf.where(positive, tf.sqrt(tf.where(positive, x, tf.ones_like(x))), tf.zeros_like(x))


@keras.saving.register_keras_serializable("l2o_tf")
class RNNpropCell(LSTMCell):
    """The RNNprop update rule as a Keras RNN cell; usable unchanged in `keras.layers.RNN`.

    Call arguments:
        inputs: `[N, 1]`, the gradient of every coordinate.
        states: `[m, v, t, h_1, c_1, h_2, c_2, ...]`, the first three `[N, 1]`, the others `[N, H]`; zeros before the
            first step. t counts the steps done.

    Returns:
        `(updates [N, 1], states)`.

    Args:
        layers: hidden sizes; default `(20, 20)`.
        projection: width of the input projection; default 20, as in both programs.
        beta_1, beta_2: decay of m and v, in [0, 1); default 0.95, as in both programs.
        epsilon: ε, positive; default 1e-8, as in both programs.
        feature_order: `"mg"` (default): m~ is the first input; or `"gm"`.
        scale: output scale, the bound of an update; default 0.01.
        projection_stddev: standard deviation of the initial `input_projection/w` and `linear/w` before they are cut at
            two of them; default (None): `1/√fan_in`, as in Sonnet 1. Their biases are zero, and the gates are those of
            `rows.stack_weights`.
        seed: seed of the initialisation; default None, random.

    Raises:
        ValueError: for an unknown order, a decay that is not in [0, 1), or sizes, an epsilon, a scale or a standard
            deviation that are not positive, or huge.
    """

    def __init__(
        self,
        layers: Sequence[int] = (20, 20),
        projection: int = 20,
        beta_1: float = 0.95,
        beta_2: float = 0.95,
        epsilon: float = 1e-8,
        feature_order: str = "mg",
        scale: float = 0.01,
        projection_stddev: float | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        arguments = locals()
        super().__init__(**kwargs)
        rows.check_layers(layers)
        for name, decay in {"beta_1": beta_1, "beta_2": beta_2}.items():
            if not 0.0 <= decay < 1.0:
                raise ValueError(f"Received {name}={decay}, expected a number in [0, 1).")
        rows.check_numbers(projection=projection, epsilon=epsilon, scale=scale)
        if projection_stddev is not None:
            rows.check_numbers(projection_stddev=projection_stddev)
        if feature_order not in ("mg", "gm"):
            raise ValueError(f"Received feature_order={feature_order!r}, expected 'mg' or 'gm'.")
        self.keep(arguments)
        self.state_size = [1, 1, 1, *(units for units in self.layers for _ in ("h", "c"))]

    def table(self):
        weights = rows.linear_weights("input_projection", 2, self.projection, self.projection_stddev)
        weights |= rows.stack_weights(self.projection, self.layers)
        width = (self.projection, *self.layers)[-1]
        return weights | rows.linear_weights("linear", width, 1, self.projection_stddev)

    def _features(self, layout, inputs, memory):
        """The projection (20 features) of the normalised gradient, and m, v, t after this step."""
        g = preprocess.bounded(inputs)
        memory = moments(g, *memory, self.beta_1, self.beta_2)
        m, g = normalised(g, *memory, self.beta_1, self.beta_2, self.epsilon)
        pair = tf.concat([m, g] if self.feature_order == "mg" else [g, m], axis=layout.AXIS)
        weights = self.named_weights
        return tf.nn.elu(layout.linear(pair, weights["input_projection/w"], weights["input_projection/b"])), memory

    def _step(self, layout, inputs, states):
        features, memory = self._features(layout, inputs, states[:3])
        outputs, states = layout.stack(features, states[3:], self.named_weights)
        linear = layout.linear(outputs, self.named_weights["linear/w"], self.named_weights["linear/b"])
        return self.scale * tf.tanh(linear), [*memory, *states]

    def last_layer(self, update):
        """`h2 W + b` of an update, a number."""
        return math.atanh(update / self.scale)

    def diagnose(self, inputs, states):
        features, _ = self._features(rows, inputs, states[:3])
        return rows.activations(features, states[3:], self.named_weights)
