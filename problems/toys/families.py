"""Synthetic problems of any size: quadratics, norms, chains and wells of the ensemble for L2O-Scale.

Each run draws its start, `x [N]` ~ N(0, 1) with N = `num_dims`, and its constants (a matrix, a target, rows of data).
So one problem stands for a family of functions. With `instance=7` all runs share the constants of that instance, and
only their starts differ. Where the loss is a sum over `num_rows` rows d_b, minibatches are `batch_size` of them, and
the measure is the sum over all. Sizes that are not positive raise a ValueError.

Source: Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017 (https://arxiv.org/abs/1703.04813), and
its program, whose class names are given where ours differ. There the constants are drawn once per problem, and a
problem is trained on for five runs.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from problems.base import Constants, Problem, Seed, fold, make_seed, measured_by, no_batches, require_positive
from problems.data.sampling import epochs

EPSILON = 1e-6
"""Keeps roots, logarithms and quotients away from zero (original program)."""

_START, _CONSTANTS = 0, 1  # purposes of seeds


def least_squares(num_dims: int = 20, instance: int | None = None) -> Problem:
    """`f(x) = ½ ‖W x − y‖²` with `W [N, N]` and `y [N]` ~ N(0, 1) (original: Quadratic)."""
    return _vector("least_squares", num_dims, lambda x, c: 0.5 * _sum_squares(_residual(x, c)), _linear, instance)


def norm(num_dims: int = 25, power: float = 2.0, instance: int | None = None) -> Problem:
    """`f(x) = (Σ_i (|W x − y|_i + 1e-6)^p)^(1/p)` with p = `power` of at least 1; W and y as in `least_squares`."""
    if not power >= 1:
        raise ValueError(f"Received power={power}, expected a number of at least 1.")

    def value(x, constants):
        return tf.pow(tf.reduce_sum(tf.pow(tf.abs(_residual(x, constants)) + EPSILON, power)), 1 / power)

    return _vector("norm", num_dims, value, _linear, instance)


def bowl(condition: float = 5.0, angle: float = 0.0) -> Problem:
    """`f(x) = ½ ‖A x‖²` with `A = diag(√κ, 1) R(φ)` and N = 2: a bowl with axes of different curvature.

    Args:
        condition: κ, the curvature along the first axis; positive, default 5.0.
        angle: φ, the turn of the axes in radians; default 0.0.
    """
    if not condition > 0:
        raise ValueError(f"Received condition={condition}, expected a positive number.")
    cos, sin, stretch = math.cos(angle), math.sin(angle), math.sqrt(condition)
    matrix = [[stretch * cos, -stretch * sin], [sin, cos]]
    return _vector("bowl", 2, lambda x, c: 0.5 * _sum_squares(tf.linalg.matvec(tf.constant(matrix, x.dtype), x)))


def isotropic_quadratic(num_dims: int = 20) -> Problem:
    """`f(x) = ‖x‖²`; in no set."""
    return _vector("isotropic_quadratic", num_dims, lambda x, c: _sum_squares(x))


def min_max_well(num_dims: int = 20) -> Problem:
    """`f(x) = max_i x_i² + 1 / min_i x_i² − 2 + 1e-12`: at most two slopes are not zero."""

    def value(x, constants):
        squares = tf.square(x)
        return tf.reduce_max(squares) + 1 / tf.reduce_min(squares) - 2 + 1e-12

    return _vector("min_max_well", num_dims, value)


def dependency_chain(num_dims: int = 20) -> Problem:
    """`f(x) = Σ_{i=1..N} (x_0² + x_i² / (x_{i−1}² + 1e-6))` of `x [N+1]`: each slope rests on the coordinate before."""
    require_positive("num_dims", num_dims)

    def value(x, constants):
        squares = tf.square(x)
        return num_dims * squares[0] + tf.reduce_sum(squares[1:] / (squares[:-1] + EPSILON))

    return _vector("dependency_chain", num_dims + 1, value)


def outward_snake(
    num_dims: int = 20, num_rows: int = 1000, batch_size: int = 100, instance: int | None = None
) -> Problem:
    """`f(x) = Σ_b (d_b0 / (‖x‖ + 1e-6) + Σ_{i≥1} ((x_i − π cos x_{i−1}) d_bi)²)` for rows d of fair bits."""

    def value(x, rows):
        bends = tf.square((x[1:] - math.pi * tf.cos(x[:-1])) * rows[:, 1:])
        return tf.reduce_sum(rows[:, 0]) / (tf.norm(x) + EPSILON) + tf.reduce_sum(bends)

    return _on_rows("outward_snake", num_dims, num_rows, batch_size, value, _bits, instance)


def projection_quadratic(
    num_dims: int = 20, num_rows: int = 1000, batch_size: int = 100, instance: int | None = None
) -> Problem:
    """`f(x) = Σ_b Σ_i (x_i d_bi)²`, with rows d ~ N(0, 1) and their negatives: `num_rows` is even."""
    _require_even("num_rows", num_rows)

    def value(x, rows):
        return _sum_squares(x * rows)

    return _on_rows("projection_quadratic", num_dims, num_rows, batch_size, value, _symmetric, instance)


def sum_of_quadratics(
    num_dims: int = 20, num_rows: int = 1000, batch_size: int = 100, instance: int | None = None
) -> Problem:
    """`f(x) = Σ_b Σ_i ((x_i − d_bi)² − d_bi²) + 1e-12`, with rows as in `projection_quadratic`.

    Over all rows that is `num_rows ‖x‖²`; on a minibatch it may be negative.
    """
    _require_even("num_rows", num_rows)

    def value(x, rows):
        return _sum_squares(x - rows) - _sum_squares(rows) + 1e-12

    return _on_rows("sum_of_quadratics", num_dims, num_rows, batch_size, value, _symmetric, instance)


def _vector(
    name: str,
    num_dims: int,
    value: Callable[[tf.Tensor, Constants], tf.Tensor],
    draw: Callable[[Seed, int], Constants] = lambda seed, num_dims: (),
    instance: int | None = None,
) -> Problem:
    """A function of one vector `x [N]` and of constants that `draw(seed, N)` makes."""
    require_positive("num_dims", num_dims)

    def init(seed):
        constants = draw(fold(seed if instance is None else make_seed(instance), _CONSTANTS), num_dims)
        return {"x": tf.random.stateless_normal([num_dims], fold(seed, _START))}, constants

    return Problem(name, init, no_batches, lambda params, constants, batch: value(params["x"], constants))


def _on_rows(
    name: str,
    num_dims: int,
    num_rows: int,
    batch_size: int,
    value: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    draw: Callable[[Seed, int, int], tf.Tensor],
    instance: int | None,
) -> Problem:
    """A sum over rows `[R, N]` that `draw(seed, R, N)` makes."""
    sample = epochs(num_rows, batch_size)

    def loss(params, constants, batch):
        return value(params["x"], tf.gather(constants, batch))

    def whole(params, constants):
        return {"loss": value(params["x"], constants), "accuracy": None}

    on_all = _vector(name, num_dims, value, lambda seed, num_dims: draw(seed, num_rows, num_dims), instance)
    return on_all._replace(sample=sample, loss=loss, measure=measured_by(loss, whole))


def _linear(seed: Seed, num_dims: int) -> Constants:
    w = tf.random.stateless_normal([num_dims, num_dims], fold(seed, 0))
    return {"w": w, "y": tf.random.stateless_normal([num_dims], fold(seed, 1))}


def _bits(seed: Seed, num_rows: int, num_dims: int) -> tf.Tensor:
    return tf.cast(tf.random.stateless_uniform([num_rows, num_dims], seed, 0, 2, tf.int32), tf.float32)


def _symmetric(seed: Seed, num_rows: int, num_dims: int) -> tf.Tensor:
    half = tf.random.stateless_normal([num_rows // 2, num_dims], seed)
    return tf.concat([half, -half], axis=0)


def _residual(x: tf.Tensor, constants: Constants) -> tf.Tensor:
    return tf.linalg.matvec(constants["w"], x) - constants["y"]


def _sum_squares(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(values))


def _require_even(name: str, value: int) -> None:
    if value % 2:
        raise ValueError(f"Received {name}={value}, expected an even number: rows and their negatives.")
