"""L2O-DM: the coordinate-wise LSTM of Andrychowicz et al. (2016), *Learning to learn by gradient descent by gradient
descent*, as the original program of Chen et al. (2020) configures it.

Every coordinate of the optimizee is one row of a batch that shares the network; rows never interact::

    u        = preprocess(g)                      # LogAndSign: [N, 1] -> [N, 2]
    h1, c1   = LSTM_1(u,  h1, c1)                 # [N, 20]
    h2, c2   = LSTM_2(h1, h2, c2)                 # [N, 20]
    Δθ       = scale (h2 W + b)                   # [N, 1], linear: nothing bounds it
"""

from collections.abc import Sequence

import keras

from l2o_tf.optimizers import preprocess as preprocessing
from l2o_tf.optimizers.cell import constant
from l2o_tf.optimizers.effects import require_effect
from l2o_tf.optimizers.lstm import rows
from l2o_tf.optimizers.lstm.cell import LSTMCell


@keras.saving.register_keras_serializable("l2o_tf")
class DMCell(LSTMCell):
    """The L2O-DM update rule as a Keras RNN cell; usable unchanged in `keras.layers.RNN`.

    Call arguments:
        inputs: `[N, 1]`, the gradient of every coordinate.
        states: `[h_1, c_1, h_2, c_2, ...]`, each `[N, H]`; zeros before the first step.

    Returns:
        `(updates [N, 1], states)`.

    Args:
        layers: hidden sizes; default `(20, 20)`. `()` is a linear map of the preprocessed gradient, as in DeepMind's
            tests.
        preprocess: `"LogAndSign"` (default), `"Clamp"` or `"identity"` (DeepMind's toy problems).
        k: exponent of LogAndSign; default 5, as in both programs.
        scale: output scale; default 0.01, 1.0 for the toy problems. It does not bound the update: trained weights
            reach 0.4 per step.
        initializer: `"default"`: truncated normal with stddev `1/√fan_in` before truncation for the matrices and, as
            Sonnet 1 does it, for the gates' biases too (fan_in = inputs + hidden), zero for the output's bias; or
            `"zeros"`.
        seed: seed of the initialisation; default None, random.

    Raises:
        ValueError: for an unknown preprocessing or initializer, sizes, a k or a scale that are not positive, or huge,
            or a k that has no effect.
    """

    def __init__(
        self,
        layers: Sequence[int] = (20, 20),
        preprocess: str = "LogAndSign",
        k: float = 5.0,
        scale: float = 0.01,
        initializer: str = "default",
        seed: int | None = None,
        **kwargs,
    ):
        arguments = locals()
        super().__init__(**kwargs)
        if preprocess not in preprocessing.PREPROCESS:
            raise ValueError(f"Received preprocess={preprocess!r}, expected one of {list(preprocessing.PREPROCESS)}.")
        if initializer not in ("default", "zeros"):
            raise ValueError(f"Received initializer={initializer!r}, expected 'default' or 'zeros'.")
        rows.check_numbers(k=k, scale=scale)
        require_effect(DMCell, {"k": k}, {"preprocess='LogAndSign'": (preprocess == "LogAndSign", ["k"])})
        rows.check_layers(layers)
        self.keep(arguments)
        self.state_size = [units for units in self.layers for _ in ("h", "c")]

    def table(self):
        features = preprocessing.FEATURES[self.preprocess]
        weights = rows.stack_weights(features, self.layers)
        weights |= rows.linear_weights("linear", (features, *self.layers)[-1], 1)
        if self.initializer == "zeros":
            weights = {name: constant(weight.shape) for name, weight in weights.items()}
        return weights

    def _preprocess(self, gradients, axis):
        function = preprocessing.PREPROCESS[self.preprocess]
        return function(gradients, k=self.k, axis=axis) if self.preprocess == "LogAndSign" else function(gradients)

    def _step(self, layout, inputs, states):
        weights = self.named_weights
        outputs, states = layout.stack(self._preprocess(inputs, layout.AXIS), states, weights)
        return self.scale * layout.linear(outputs, weights["linear/w"], weights["linear/b"]), states

    def last_layer(self, update):
        """`h2 W + b` of an update, a number."""
        return update / self.scale

    def diagnose(self, inputs, states):
        return rows.activations(self._preprocess(inputs, rows.AXIS), states, self.named_weights)
