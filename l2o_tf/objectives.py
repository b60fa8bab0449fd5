"""What meta-training minimises: `losses [T+1] -> scalar`.

`losses[t]` is `f(θ_t)` before update t; `losses[T]` comes after the last update. Every function here is pure and
differentiable; pass any other of the same form to `meta_gradient`.
"""

from collections.abc import Callable

import tensorflow as tf


def total(losses: tf.Tensor) -> tf.Tensor:
    """`Σ_{t=0}^{T} f(θ_t)`: all weights `ω_t = 1`, as in Andrychowicz et al. (2016) and both programs."""
    return tf.reduce_sum(losses)


def mean(losses: tf.Tensor) -> tf.Tensor:
    """`1/(T+1) Σ_{t=0}^{T} f(θ_t)`."""
    return tf.reduce_mean(losses)


def final(losses: tf.Tensor) -> tf.Tensor:
    """`f(θ_T)`: only the end counts."""
    return losses[-1]


OBJECTIVES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {"sum": total, "mean": mean, "final": final}
