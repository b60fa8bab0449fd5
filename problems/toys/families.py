"""Synthetic problems of any size: quadratics, norms, chains and wells of the ensemble for L2O-Scale.

Each run draws its start and its constants (a matrix, a target, rows of data). So one problem stands for a family of
functions. With `instance=7` all runs share the constants of that instance, and only their starts differ. Where the loss
is a sum over rows, minibatches are some of the rows, and the measure is the sum over all of them.

Source: Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017 (https://arxiv.org/abs/1703.04813), and
its program, whose class names are given where ours differ. There the constants are drawn once per problem, and a
problem is trained on for five runs.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from problems.base import (
    Batch,
    Constants,
    Measured,
    Params,
    Problem,
    Seed,
    fold,
    make_seed,
    measured_by,
    no_batches,
    require_positive,
)
from problems.data.sampling import epochs

EPSILON = 1e-6
"""Keeps roots, logarithms and quotients away from zero (original program)."""

_START, _CONSTANTS = 0, 1  # purposes of seeds


def least_squares(num_dims: int = 20, instance: int | None = None) -> Problem:
    """`f(x) = ½ ‖W x − y‖²` with `x [N]`, `W [N, N]` and `y [N]` all ~ N(0, 1) (original: Quadratic).

    Args:
        num_dims: N; default 20.
        instance: of W and y; default: other ones in each run.

    Raises:
        ValueError: if `num_dims` is not positive.
    """
    return _vector("least_squares", num_dims, lambda x, c: 0.5 * _sum_squares(_residual(x, c)), _linear, instance)


def norm(num_dims: int = 25, power: float = 2.0, instance: int | None = None) -> Problem:
    """`f(x) = (Σ_i (|W x − y|_i + 1e-6)^p)^(1/p)`; x, W and y as in `least_squares`.

    Args:
        num_dims: N; default 25.
        power: p, at least 1; default 2.0.
        instance: of W and y; default: other ones in each run.

    Raises:
        ValueError: if `num_dims` is not positive or `power` is less than 1.
    """
    if not power >= 1:
        raise ValueError(f"Received power={power}, expected a number of at least 1.")

    def value(x: tf.Tensor, constants: Constants) -> tf.Tensor:
        return tf.pow(tf.reduce_sum(tf.pow(tf.abs(_residual(x, constants)) + EPSILON, power)), 1 / power)

    return _vector("norm", num_dims, value, _linear, instance)


def bowl(condition: float = 5.0, angle: float = 0.0) -> Problem:
    """`f(x) = ½ ‖A x‖²` with `A = diag(√κ, 1) R(φ)` and `x [2]` ~ N(0, 1): a bowl with axes of different curvature.

    Args:
        condition: κ, the curvature along the first axis; positive, default 5.0.
        angle: φ, the turn of the axes in radians; default 0.0.

    Raises:
        ValueError: if `condition` is not positive.
    """
    if not condition > 0:
        raise ValueError(f"Received condition={condition}, expected a positive number.")
    cos, sin, stretch = math.cos(angle), math.sin(angle), math.sqrt(condition)
    matrix = [[stretch * cos, -stretch * sin], [sin, cos]]
    return _vector("bowl", 2, lambda x, c: 0.5 * _sum_squares(tf.linalg.matvec(tf.constant(matrix, x.dtype), x)))


def isotropic_quadratic(num_dims: int = 20) -> Problem:
    """`f(x) = ‖x‖²` with `x [N]` ~ N(0, 1); in no set.

    Args:
        num_dims: N; default 20.

    Raises:
        ValueError: if `num_dims` is not positive.
    """
    return _vector("isotropic_quadratic", num_dims, lambda x, c: _sum_squares(x))


def min_max_well(num_dims: int = 20) -> Problem:
    """`f(x) = max_i x_i² + 1 / min_i x_i² − 2 + 1e-12` with `x [N]` ~ N(0, 1): at most two slopes are not zero.

    Args:
        num_dims: N; default 20.

    Raises:
        ValueError: if `num_dims` is not positive.
    """

    def value(x: tf.Tensor, constants: Constants) -> tf.Tensor:
        del constants
        squares = tf.square(x)
        return tf.reduce_max(squares) + 1 / tf.reduce_min(squares) - 2 + 1e-12

    return _vector("min_max_well", num_dims, value)


def dependency_chain(num_dims: int = 20) -> Problem:
    """`f(x) = Σ_{i=1..n} (x_0² + x_i² / (x_{i−1}² + 1e-6))` with `x [n+1]` ~ N(0, 1).

    Each slope rests on the coordinate before.

    Args:
        num_dims: n, the links; default 20.

    Raises:
        ValueError: if `num_dims` is not positive.
    """
    require_positive("num_dims", num_dims)

    def value(x: tf.Tensor, constants: Constants) -> tf.Tensor:
        del constants
        squares = tf.square(x)
        return num_dims * squares[0] + tf.reduce_sum(squares[1:] / (squares[:-1] + EPSILON))

    return _vector("dependency_chain", num_dims + 1, value)


def outward_snake(
    num_dims: int = 20, num_rows: int = 1000, batch_size: int = 100, instance: int | None = None
) -> Problem:
    """`f(x) = Σ_b (d_b0 / (‖x‖ + 1e-6) + Σ_{i≥1} ((x_i − π cos x_{i−1}) d_bi)²)` for rows d of fair bits.

    It starts from `x [N]` ~ N(0, 1).

    Args:
        num_dims: N; default 20.
        num_rows: rows in the data; default 1000.
        batch_size: rows per minibatch; default 100.
        instance: of the rows; default: other ones in each run.

    Raises:
        ValueError: if a size is not positive.
    """

    def value(x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        bends = tf.square((x[1:] - math.pi * tf.cos(x[:-1])) * rows[:, 1:])
        return tf.reduce_sum(rows[:, 0]) / (tf.norm(x) + EPSILON) + tf.reduce_sum(bends)

    return _on_rows("outward_snake", (num_dims, num_rows, batch_size), value, _bits, instance)


def projection_quadratic(
    num_dims: int = 20, num_rows: int = 1000, batch_size: int = 100, instance: int | None = None
) -> Problem:
    """`f(x) = Σ_b Σ_i (x_i d_bi)²`, with rows d ~ N(0, 1) and their negatives, `x [N]` ~ N(0, 1).

    Arguments and errors as in `outward_snake`; `num_rows` is even.
    """

    def value(x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        return _sum_squares(x * rows)

    _require_even("num_rows", num_rows)
    return _on_rows("projection_quadratic", (num_dims, num_rows, batch_size), value, _symmetric, instance)


def sum_of_quadratics(
    num_dims: int = 20, num_rows: int = 1000, batch_size: int = 100, instance: int | None = None
) -> Problem:
    """`f(x) = Σ_b Σ_i ((x_i − d_bi)² − d_bi²) + 1e-12`, with rows as in `projection_quadratic`, `x [N]` ~ N(0, 1).

    Over all rows that is `num_rows ‖x‖²`; on a minibatch it may be negative. Arguments and errors as in
    `outward_snake`; `num_rows` is even.
    """

    def value(x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        return _sum_squares(x - rows) - _sum_squares(rows) + 1e-12

    _require_even("num_rows", num_rows)
    return _on_rows("sum_of_quadratics", (num_dims, num_rows, batch_size), value, _symmetric, instance)


def _vector(
    name: str,
    num_dims: int,
    value: Callable[[tf.Tensor, Constants], tf.Tensor],
    draw: Callable[[Seed, int], Constants] | None = None,
    instance: int | None = None,
) -> Problem:
    """A function of one vector `x [N]` ~ N(0, 1) and of constants that `draw(seed, N)` makes."""
    require_positive("num_dims", num_dims)

    def init(seed: Seed) -> tuple[Params, Constants]:
        drawn = draw(_seed_of_constants(seed, instance), num_dims) if draw else ()
        return {"x": _normal([num_dims], fold(seed, _START))}, drawn

    def loss(params: Params, constants: Constants, batch: Batch) -> tf.Tensor:
        del batch
        return value(params["x"], constants)

    return Problem(name, init, no_batches, loss)


def _on_rows(
    name: str,
    sizes: tuple[int, int, int],
    value: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    draw: Callable[[Seed, int, int], tf.Tensor],
    instance: int | None,
) -> Problem:
    """A sum over rows `[R, N]` that `draw(seed, R, N)` makes; `sizes` are N, R and the rows per minibatch."""
    num_dims, num_rows, batch_size = sizes
    require_positive("num_dims", num_dims)

    def init(seed: Seed) -> tuple[Params, Constants]:
        rows = draw(_seed_of_constants(seed, instance), num_rows, num_dims)
        return {"x": _normal([num_dims], fold(seed, _START))}, rows

    def loss(params: Params, constants: Constants, batch: Batch) -> tf.Tensor:
        return value(params["x"], tf.gather(constants, batch))

    def whole(params: Params, constants: Constants) -> Measured:
        return {"loss": value(params["x"], constants), "accuracy": None}

    return Problem(name, init, epochs(num_rows, batch_size), loss, measure=measured_by(loss, whole))


def _seed_of_constants(seed: Seed, instance: int | None) -> Seed:
    return fold(seed if instance is None else make_seed(instance), _CONSTANTS)


def _linear(seed: Seed, num_dims: int) -> Constants:
    return {"w": _normal([num_dims, num_dims], fold(seed, 0)), "y": _normal([num_dims], fold(seed, 1))}


def _bits(seed: Seed, num_rows: int, num_dims: int) -> tf.Tensor:
    bits = tf.random.stateless_uniform([num_rows, num_dims], seed, 0, 2, tf.int32)
    return tf.cast(bits, tf.float32)


def _symmetric(seed: Seed, num_rows: int, num_dims: int) -> tf.Tensor:
    half = _normal([num_rows // 2, num_dims], seed)
    return tf.concat([half, -half], axis=0)


def _residual(x: tf.Tensor, constants: Constants) -> tf.Tensor:
    return tf.linalg.matvec(constants["w"], x) - constants["y"]


def _sum_squares(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(values))


def _normal(shape: list[int], seed: Seed) -> tf.Tensor:
    return tf.random.stateless_normal(shape, seed)


def _require_even(name: str, value: int) -> None:
    if value % 2:
        raise ValueError(f"Received {name}={value}, expected an even number: rows and their negatives.")
