"""Problems in closed form: DeepMind's toy problems, with their names, variables and defaults.

They have no data. Sizes that are not positive, or a negative `stddev`, raise a ValueError.

Source: DeepMind's learning-to-learn program (Andrychowicz et al., 2016, https://arxiv.org/abs/1606.04474).
"""

import math

import tensorflow as tf

from problems.base import Problem, fold, no_batches, require_not_negative, require_positive


def simple() -> Problem:
    """`f(x) = x²` of one scalar `x`, which starts at 1."""

    def loss(params, constants, batch):
        return tf.square(params["x"])

    return Problem("simple", lambda seed: ({"x": tf.ones([])}, ()), no_batches, loss)


def simple_multi_optimizer(num_dims: int = 2) -> Problem:
    """`f(x) = Σ_i x_i²` of scalar variables `x_0, x_1, ...`, which start at 1.

    Each coordinate is a variable of its own, so that different optimizers can be given to different variables.
    """
    require_positive("num_dims", num_dims)

    def init(seed):
        return {f"x_{i}": tf.ones([]) for i in range(num_dims)}, ()

    def loss(params, constants, batch):
        return tf.add_n([tf.square(x) for x in params.values()])

    return Problem("simple_multi_optimizer", init, no_batches, loss)


def quadratic(batch_size: int = 128, num_dims: int = 10, stddev: float = 0.01, dtype: tf.DType = tf.float32) -> Problem:
    """`f(x) = mean_b ‖W_b x_b − y_b‖²` with `x [B, N]` ~ N(0, stddev²), `W [B, N, N]` and `y [B, N]` ~ U[0, 1).

    W and y are drawn by `init`: they are constants of one run, and other ones in the next.

    Args:
        batch_size: B, how many quadratics; default 128.
        num_dims: N; default 10.
        stddev: of the start; default 0.01.
        dtype: floating-point type of everything; default float32.
    """
    require_positive("batch_size", batch_size)
    require_positive("num_dims", num_dims)
    require_not_negative("stddev", stddev)

    def init(seed):
        x = stddev * tf.random.stateless_normal([batch_size, num_dims], fold(seed, 0), dtype=dtype)
        w = tf.random.stateless_uniform([batch_size, num_dims, num_dims], fold(seed, 1), dtype=dtype)
        y = tf.random.stateless_uniform([batch_size, num_dims], fold(seed, 2), dtype=dtype)
        return {"x": x}, {"w": w, "y": y}

    def loss(params, constants, batch):
        product = tf.linalg.matvec(constants["w"], params["x"])
        return tf.reduce_mean(tf.reduce_sum(tf.square(product - constants["y"]), axis=1))

    return Problem("quadratic", init, no_batches, loss)


def square_cos(batch_size: int = 128, num_dims: int = 2, stddev: float = 0.01) -> Problem:
    """`f(x) = mean_b [‖W_b x_b − y_b‖² − Σ_d (C_b 10 cos 2π x_b)_d + 10 N]`: a bowl with many dents.

    As `quadratic`, with one more constant, `C [B, N, N]` ~ U[0, 1).
    """
    bowls = quadratic(batch_size, num_dims, stddev)

    def init(seed):
        params, constants = bowls.init(seed)
        c = tf.random.stateless_uniform([batch_size, num_dims, num_dims], fold(seed, 3))
        return params, constants | {"c": c}

    def loss(params, constants, batch):
        waves = tf.linalg.matvec(constants["c"], 10 * tf.cos(2 * math.pi * params["x"]))
        dents = tf.reduce_mean(tf.reduce_sum(waves, axis=1))
        return bowls.loss(params, constants, batch) - dents + 10 * num_dims

    return Problem("square_cos", init, no_batches, loss)
