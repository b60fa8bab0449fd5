"""An optimizee of any size that costs next to nothing: `f(x) = 1/2 mean_i (x_i - 1)²`, from `x ~ N(0, 1)`.

What a meta-step on it takes, in time and in memory, is the optimizer's. In the benchmarks it goes by the name `bowl:N`,
N being the number of coordinates.
"""

import tensorflow as tf

from problems.base import Problem, no_batches

PREFIX = "bowl:"


def bowl(size: int) -> Problem:
    """The bowl with `size` coordinates."""

    def init(seed):
        return {"x": tf.random.stateless_normal([size], seed)}, ()

    def loss(params, constants, batch):
        del constants, batch
        return 0.5 * tf.reduce_mean(tf.square(params["x"] - 1.0))

    return Problem(f"{PREFIX}{size}", init, no_batches, loss)
