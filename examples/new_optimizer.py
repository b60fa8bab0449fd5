r"""A new architecture of a learned optimizer: a gated recurrent unit per coordinate.

    python meta_train.py --flagfile=recipes/demo.flags --output_dir=runs/gru \
        --optimizer=examples/new_optimizer.py:GRUCell --learning_rate=0.005
    python evaluate.py --optimizer=runs/gru,Adam --allow_code --learning_rate=0.03 --problem=digits --num_steps=500

A Keras RNN cell is all that the trainer, the evaluator and `l2o_tf.LearnedOptimizer` ask for.
"""

import keras
import tensorflow as tf

import l2o_tf as l2o


@keras.saving.register_keras_serializable("examples")
class GRUCell(keras.layers.Layer):
    """`h <- GRU([log|g|, sign g], h)`, `Δθ = scale · (h w + b)`.

    Args:
        units: size of h; default 20.
        scale: of the output; default 0.01.
        seed: of the initial weights; default None, random.
    """

    def __init__(self, units: int = 20, scale: float = 0.01, seed: int | None = None, **options):
        super().__init__(**options)
        self.units, self.scale, self.seed = units, scale, seed
        initial = [keras.initializers.GlorotUniform(None if seed is None else 3 * seed + i) for i in range(3)]
        self.gru = keras.layers.GRUCell(units, kernel_initializer=initial[0], recurrent_initializer=initial[1])
        self.head = keras.layers.Dense(1, kernel_initializer=initial[2])
        self.state_size = [units]

    def build(self, input_shape):
        self.gru.build((None, 2))
        self.head.build((None, self.units))

    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, self.units])]

    def call(self, inputs, states):
        hidden, states = self.gru(l2o.log_and_sign(inputs), states)
        return self.scale * self.head(hidden), states

    def get_config(self):
        return {**super().get_config(), "units": self.units, "scale": self.scale, "seed": self.seed}
