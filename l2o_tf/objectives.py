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


def penultimate(losses: tf.Tensor) -> tf.Tensor:
    """`f(θ_{T-1})`: the last loss that an update has seen. The window's last update is not judged.

    Source: Lv, Jiang and Li (2017), whose program takes the loss of its 20th evaluation, before the 20th update.
    """
    return losses[-2]


def mean_log_ratio(losses: tf.Tensor, initial: tf.Tensor | None = None) -> tf.Tensor:
    """`1/(T+1) Σ_{t=0}^{T} ln(f(θ_t) / (f_0 + ε) + ε)`, ε = 1e-6: relative progress counts, as in L2O-Scale.

    Args:
        losses: `[T+1]`, positive.
        initial: `f_0`, the loss at the start of the run; default that of the window, which has the same gradient up to
            ε.
    """
    initial = tf.stop_gradient(losses[0]) if initial is None else initial
    return tf.reduce_mean(tf.math.log(losses / (initial + 1e-6) + 1e-6))


def mean_log_ratio_original(losses: tf.Tensor, initial: tf.Tensor | None = None) -> tf.Tensor:
    """`mean_log_ratio` of `f(θ_0), f(θ_0), f(θ_1), ..., f(θ_{T-1})`.

    So the original program has it: the first point counts twice, and the last, which the window's last update leads to,
    does not count.
    """
    initial = tf.stop_gradient(losses[0]) if initial is None else initial
    return mean_log_ratio(tf.concat([losses[:1], losses[:-1]], axis=0), initial)


OBJECTIVES: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "sum": total,
    "mean": mean,
    "final": final,
    "penultimate": penultimate,
}
