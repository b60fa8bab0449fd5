"""What meta-training minimises: `(losses [T+1], first) -> scalar`.

`losses[t]` is `f(θ_t)` before update t of a window; `losses[T]` is the loss after the last update. `first` is `f(θ_0)`,
the loss at the start of the run. Some objectives compare with it. Every function here is pure and differentiable. You
can pass your own function of the same form to a technique.

    >>> import l2o_tf as l2o
    >>> float(l2o.objectives.final([3.0, 2.0, 1.0]))
    1.0
"""

from collections.abc import Callable

import tensorflow as tf

Objective = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def total(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`Σ_{t=0}^{T} f(θ_t)`: all weights `ω_t = 1`, as in Andrychowicz et al. (2016) and both programs."""
    return tf.reduce_sum(losses)


def mean(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`1/(T+1) Σ_{t=0}^{T} f(θ_t)`."""
    return tf.reduce_mean(losses)


def final(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`f(θ_T)`: only the end counts."""
    return losses[-1]


def penultimate(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`f(θ_{T-1})`: the last loss before an update. The window's last update does not count.

    Source: Lv, Jiang and Li (2017), whose program takes the loss of its 20th evaluation, before the 20th update.
    """
    return losses[-2]


def log_mean(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`ln(1/(T+1) Σ_{t=0}^{T} f(θ_t) + ε)`, ε = 1e-6: what an evaluation reports, for one window.

    Windows at the end of a run, where losses are small, count as much as those at its beginning. Within a window, a
    loss counts by its size, so a single large loss counts much.
    """
    return tf.math.log(tf.reduce_mean(losses) + 1e-6)


def mean_log_ratio(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`1/(T+1) Σ_{t=0}^{T} ln(f(θ_t) / (f_0 + ε) + ε)`, ε = 1e-6: relative progress counts, as in L2O-Scale.

    Args:
        losses: `[T+1]`, not negative.
        first: `f_0`, the loss at the start of the run. Default: the first loss of the window; the gradient is the same
            up to ε.
    """
    first = tf.stop_gradient(losses[0]) if first is None else first
    return tf.reduce_mean(tf.math.log(losses / (first + 1e-6) + 1e-6))


def mean_log_ratio_numerator(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`1/(T+1) Σ_{t=0}^{T} ln((f(θ_t) + ε) / (f_0 + ε))`: the original program's variant with ε in the numerator."""
    first = tf.stop_gradient(losses[0]) if first is None else first
    return tf.reduce_mean(tf.math.log((losses + 1e-6) / (first + 1e-6)))


def mean_log_ratio_original(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`mean_log_ratio` of `f(θ_0), f(θ_0), f(θ_1), ..., f(θ_{T-1})`.

    The original program computes this: the first loss counts twice, and the loss after the window's last update does
    not count.
    """
    first = tf.stop_gradient(losses[0]) if first is None else first
    return mean_log_ratio(tf.concat([losses[:1], losses[:-1]], axis=0), first)


def mean_ratio_original(losses: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """`1/T Σ_{t=0}^{T-1} f(θ_t) / (f_0 + ε)`, ε = 1e-6: the original program with its log objective switched off."""
    first = tf.stop_gradient(losses[0]) if first is None else first
    return tf.reduce_mean(losses[:-1]) / (first + 1e-6)


OBJECTIVES: dict[str, Objective] = {
    "sum": total,
    "mean": mean,
    "final": final,
    "penultimate": penultimate,
    "log_mean": log_mean,
    "log_ratio": mean_log_ratio,
    "log_ratio_numerator": mean_log_ratio_numerator,
    "log_ratio_original": mean_log_ratio_original,
    "ratio_original": mean_ratio_original,
}
