"""A rule of one's own: a small perceptron per coordinate that sees momentum, the parameters and the loss.

    python -m examples.mlp_rule
    python meta_train.py --optimizer=examples/mlp_rule.py:MLPRule --problem=digits --output_dir=runs/mlp

Its features are those of hand-designed optimizers, as in Metz et al. (2020), *Tasks, stability, architecture, and
compute*. There is no recurrence. Any subclass of `Optimizer` can be meta-trained, compared, and used in `fit`.
"""

import l2o_tf as l2o

l2o.import_tensorflow()  # without its start-up lines; before Keras, which would import it with them

import keras
import tensorflow as tf

DECAYS = (0.5, 0.9, 0.99)


class MLPRule(l2o.Optimizer):
    """`Δ = -0.01 (m_0.9 / √v_0.9 + d) exp(e)`; d and e, 0 at first, see a coordinate's `m_i / √v_i`, θ and ln f(θ)."""

    coordinatewise = True

    def __init__(self, hidden: int = 16, seed: int = 0):
        self.architecture = {"hidden": hidden, "seed": seed}
        self.hidden = keras.layers.Dense(hidden, "tanh", kernel_initializer=keras.initializers.GlorotUniform(seed))
        self.output = keras.layers.Dense(2, kernel_initializer="zeros")
        self.hidden.build((None, len(DECAYS) + 2))
        self.output.build((None, hidden))

    @property
    def named_variables(self):
        layers = {"hidden": self.hidden, "output": self.output}
        return {f"{name}/{part}": getattr(layer, part) for name, layer in layers.items() for part in ("kernel", "bias")}

    def initial_state(self, params, seed):
        return {name: tf.zeros([2, len(DECAYS), *x.shape]) for name, x in params.items()}  # m and v

    def update(self, step, state):
        updates, after = {}, {}
        for name, theta in step.params.items():
            new = tf.stack([step.grads[name], tf.square(step.grads[name])])[:, None]
            decay = tf.reshape(tf.constant(DECAYS), [-1] + [1] * theta.shape.rank)
            after[name] = decay * state[name] + (1.0 - decay) * new
            m, v = tf.unstack(after[name])
            loss = tf.broadcast_to(tf.math.log(step.losses[name] + 1e-6), theta.shape)
            directions = tf.unstack(m / tf.sqrt(v + 1e-12))
            features = tf.stack([*directions, theta, loss], axis=-1)
            d, e = tf.unstack(0.1 * self.output(self.hidden(tf.reshape(features, [-1, len(DECAYS) + 2]))), axis=1)
            updates[name] = -0.01 * (directions[1] + tf.reshape(d, theta.shape)) * tf.reshape(tf.exp(e), theta.shape)
        return updates, after


if __name__ == "__main__":
    rule, task = MLPRule(), l2o.make_problem("digits")
    l2o.MetaTrainer(rule, task, curriculum=100).run("runs/mlp_rule", epochs=100)
    print(l2o.evaluate([rule, "Adam:0.01"], l2o.make_problem("digits", mode="test"), num_steps=200, num_runs=3).table())
