"""Test functions of two variables: narrow valleys, flat bowls and many minima, the classics of optimization.

Each is a formula of the coordinates x and y and the box that a run starts in, made into a factory by `_landscape`. The
parameter is one tensor `x [2]`. There are no data, and but for the start nothing is drawn.

Source: the ensemble of Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017
(https://arxiv.org/abs/1703.04813), with the formulas, boxes and offsets of its program. Offsets keep the values
positive, since L2O-Scale's objective takes their logarithm.
"""

import functools
import inspect
import math
from collections.abc import Callable

import tensorflow as tf

from problems.base import Problem, Seed, no_batches

Formula = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def _landscape(start: Callable[[Seed], tf.Tensor]) -> Callable[[Formula], Callable[[], Problem]]:
    """Makes a factory of problems from a formula `(x, y) -> value`, with its name and description."""

    def decorate(formula):
        def loss(params, constants, batch):
            return formula(params["x"][0], params["x"][1])

        @functools.wraps(formula)
        def factory():
            return Problem(formula.__name__, lambda seed: ({"x": start(seed)}, ()), no_batches, loss)

        factory.__signature__ = inspect.Signature(return_annotation=Problem)
        return factory

    return decorate


def _box(low: tuple[float, float], high: tuple[float, float]) -> Callable[[Seed], tf.Tensor]:
    """A start that is uniform between the corners `low` and `high`."""

    def draw(seed):
        corner, other = tf.constant(low), tf.constant(high)
        return corner + (other - corner) * tf.random.stateless_uniform([2], seed)

    return draw


def _square(low: float, high: float) -> Callable[[Seed], tf.Tensor]:
    return _box((low, low), (high, high))


def _normal(seed: Seed) -> tf.Tensor:
    return tf.random.stateless_normal([2], seed)


@_landscape(_square(-5.0, 10.0))
def rosenbrock(x, y):
    """`(1 − x)² + 100 (y − x²)²`, from U(−5, 10)²."""
    return tf.square(1 - x) + 100 * tf.square(y - tf.square(x))


@_landscape(_square(-32.768, 32.768))
def ackley(x, y):
    """`−20 exp(−0.2 √((x² + y²)/2)) − exp((cos 2πx + cos 2πy)/2) + e + 20`, from U(−32.768, 32.768)²."""
    ripples = tf.exp(0.5 * (tf.cos(2 * math.pi * x) + tf.cos(2 * math.pi * y)))
    return 20 + math.e - 20 * tf.exp(-0.2 * tf.sqrt(0.5 * (tf.square(x) + tf.square(y)))) - ripples


@_landscape(_square(-4.5, 4.5))
def beale(x, y):
    """`(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²`, from U(−4.5, 4.5)²."""
    factors = ((1.5, y), (2.25, y * y), (2.625, y * y * y))
    return tf.add_n([tf.square(offset - x + x * power) for offset, power in factors])


@_landscape(_square(-10.0, 10.0))
def booth(x, y):
    """`(x + 2y − 7)² + (2x + y − 5)²`, from U(−10, 10)²."""
    return tf.square(x + 2 * y - 7) + tf.square(2 * x + y - 5)


@_landscape(_box((-5.0, 0.0), (10.0, 15.0)))
def branin(x, y):
    """`(y − 5.1/(4π²) x² + 5/π x − 6)² + 10 (1 − 1/(8π)) cos x + 10`, from U(−5, 10) × U(0, 15)."""
    valley = y - 5.1 / (4 * math.pi**2) * tf.square(x) + 5 / math.pi * x - 6
    return tf.square(valley) + 10 * (1 - 1 / (8 * math.pi)) * tf.cos(x) + 10


@_landscape(_normal)
def log_sum_exp(x, y):
    """`ln(exp(x + 3y − 0.1) + exp(x − 3y − 0.1) + exp(−x − 0.1) + 1)`, from N(0, 1)²."""
    return tf.reduce_logsumexp(tf.stack([x + 3 * y - 0.1, x - 3 * y - 0.1, -x - 0.1, tf.zeros_like(x)]))


@_landscape(_square(-10.0, 10.0))
def matyas(x, y):
    """`0.26 (x² + y²) − 0.48 xy`, from U(−10, 10)²."""
    return 0.26 * (tf.square(x) + tf.square(y)) - 0.48 * x * y


@_landscape(_square(0.0, math.pi))
def michalewicz(x, y):
    """`2 − sin x sin¹⁰(x²/π) − sin y sin¹⁰(2y²/π)`, from U(0, π)²; elsewhere the power is often 20."""
    ridges = [tf.sin(z) * tf.pow(tf.sin(i * tf.square(z) / math.pi), 10.0) for i, z in ((1, x), (2, y))]
    return 2 - ridges[0] - ridges[1]


@_landscape(_square(-5.0, 5.0))
def styblinski_tang(x, y):
    """`½ Σ_z (z⁴ − 16z² + 5z) + 80` over z = x, y, from U(−5, 5)²."""
    return 80 + 0.5 * tf.add_n([tf.pow(z, 4.0) - 16 * tf.square(z) + 5 * z for z in (x, y)])


@_landscape(_normal)
def saddle(x, y):
    """`x² − y²`, from N(0, 1)²; it has no minimum, and is in no set."""
    return tf.square(x) - tf.square(y)
