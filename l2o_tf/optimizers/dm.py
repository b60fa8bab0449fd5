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
import tensorflow as tf

from l2o_tf.optimizers import preprocess as preprocessing


def gates(inputs, h, w_gates, b_gates):
    """`[i, j, f, o] = [x, h] W + b`, each `[N, H]`, before their nonlinearities."""
    return tf.split(tf.matmul(tf.concat([inputs, h], axis=1), w_gates) + b_gates, 4, axis=1)


def lstm(inputs, h, c, w_gates, b_gates):
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


@keras.saving.register_keras_serializable("l2o_tf")
class DMCell(keras.layers.Layer):
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
        ValueError: for an unknown preprocessing or initializer, or hidden sizes that are not positive.
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
        super().__init__(**kwargs)
        if preprocess not in preprocessing.PREPROCESS:
            raise ValueError(f"Received preprocess={preprocess!r}, expected one of {list(preprocessing.PREPROCESS)}.")
        if initializer not in ("default", "zeros"):
            raise ValueError(f"Received initializer={initializer!r}, expected 'default' or 'zeros'.")
        if any(units < 1 for units in layers):
            raise ValueError(f"Received layers={layers!r}, expected positive hidden sizes.")
        self.layers = tuple(layers)
        self.preprocess = preprocess
        self.k = k
        self.scale = scale
        self.initializer = initializer
        self.seed = seed
        self.state_size = [units for units in self.layers for _ in ("h", "c")]
        self.output_size = 1
        self.named_weights = {}

    def build(self, input_shape):
        del input_shape
        fan_in = preprocessing.FEATURES[self.preprocess]
        for index, units in enumerate(self.layers, start=1):
            fan_in += units
            self._add(f"lstm_{index}/w_gates", [fan_in, 4 * units], fan_in)
            self._add(f"lstm_{index}/b_gates", [4 * units], fan_in)
            fan_in = units
        self._add("linear/w", [fan_in, 1], fan_in)
        self._add("linear/b", [1], None)
        self.built = True

    def _add(self, name: str, shape: list[int], fan_in: int | None):
        if fan_in is None or self.initializer == "zeros":
            initializer = keras.initializers.Zeros()
        else:
            seed = None if self.seed is None else 1000 * self.seed + len(self.named_weights)
            initializer = keras.initializers.TruncatedNormal(stddev=fan_in**-0.5, seed=seed)
        self.named_weights[name] = self.add_weight(name=name.replace("/", "_"), shape=shape, initializer=initializer)

    def _preprocess(self, gradients):
        function = preprocessing.PREPROCESS[self.preprocess]
        return function(gradients, k=self.k) if self.preprocess == "LogAndSign" else function(gradients)

    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, units], self.compute_dtype) for units in self.state_size]

    def call(self, inputs, states):
        weights = self.named_weights
        outputs, new_states = self._preprocess(inputs), []
        for index in range(len(self.layers)):
            h, c = states[2 * index : 2 * index + 2]
            layer = f"lstm_{index + 1}"
            outputs, c = lstm(outputs, h, c, weights[f"{layer}/w_gates"], weights[f"{layer}/b_gates"])
            new_states += [outputs, c]
        updates = self.scale * (tf.matmul(outputs, weights["linear/w"]) + weights["linear/b"])
        return updates, new_states

    def diagnose(self, inputs, states):
        """Activations of the gates, in (0, 1): a gate that sits at either end is saturated and learns nothing."""
        outputs, found = self._preprocess(inputs), {}
        for index in range(len(self.layers)):
            h, c = states[2 * index : 2 * index + 2]
            layer = f"lstm_{index + 1}"
            w_gates, b_gates = self.named_weights[f"{layer}/w_gates"], self.named_weights[f"{layer}/b_gates"]
            i, _, f, o = gates(outputs, h, w_gates, b_gates)
            for name, gate in {"input": i, "forget": f + 1.0, "output": o}.items():
                found[f"gates/{layer}/{name}"] = tf.sigmoid(gate)
            outputs, _ = lstm(outputs, h, c, w_gates, b_gates)
        return found

    def get_config(self):
        return {
            **super().get_config(),
            "layers": self.layers,
            "preprocess": self.preprocess,
            "k": self.k,
            "scale": self.scale,
            "initializer": self.initializer,
            "seed": self.seed,
        }
