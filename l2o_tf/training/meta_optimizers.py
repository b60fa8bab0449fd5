"""What updates φ: the optimizers of the original programs as Keras optimizers."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("l2o_tf")
class RMSprop1(keras.optimizers.Optimizer):
    """RMSProp as TensorFlow 1 had it, with which L2O-Scale's original program trains::

        s' = ρ s + (1 - ρ) g²,          s_0 = 1
        φ' = φ - α g / √(s' + ε)

    Keras's own starts at `s_0 = 0` and adds ε outside the root, so that its first updates are as large as any; here
    they are as small as the gradient, like those of SGD.

    Args:
        learning_rate: α. Default 1e-6, as in that program.
        rho: ρ, decay of the running mean. Default 0.9.
        epsilon: ε. Default 1e-20, as in that program.
        **kwargs: of `keras.optimizers.Optimizer`, e.g. `clipvalue`.

    Example:
        >>> import keras
        >>> import l2o_tf as l2o
        >>> variable = keras.Variable(1.0)
        >>> l2o.RMSprop1(0.5).apply([0.0], [variable])
        >>> float(variable.value)
        1.0
    """

    def __init__(self, learning_rate=1e-6, rho: float = 0.9, epsilon: float = 1e-20, name="rmsprop1", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.rho = rho
        self.epsilon = epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._mean_squares = self.add_optimizer_variables(variables, "mean_square", initializer="ones")

    def update_step(self, gradient, variable, learning_rate):
        mean_square = self._mean_squares[self._get_variable_index(variable)]
        value = self.rho * mean_square + (1.0 - self.rho) * tf.square(gradient)
        self.assign(mean_square, value)
        self.assign_sub(variable, learning_rate * gradient / tf.sqrt(value + self.epsilon))

    def get_config(self):
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}


META_OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": functools.partial(keras.optimizers.Adam, epsilon=1e-8),
    "rmsprop": RMSprop1,
}
"""Name -> `(learning_rate, **clipping) -> optimizer`. Epsilon is TensorFlow 1's; Keras's own default is 1e-7."""
