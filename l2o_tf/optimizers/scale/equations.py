"""The equations of L2O-Scale (Wichrowska et al., 2017, *Learned optimizers that scale and generalize*), one by one.

Pure functions of columns; `l2o_tf.optimizers.scale.cell` puts them together. N coordinates, S time scales, F features,
H units. The constants, the order of the features and what is not in the paper are those of the paper's published
program, which the original program of Chen et al. (2020) uses as well.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from l2o_tf.common import nest
from problems.base import Seed, fold


def decays(slowest: tf.Tensor, count: int) -> tf.Tensor:
    """`[δ, δ^(1/2), δ^(1/4), ...]`: each memory twice as long as the one before. `[1, N] -> [count, N]`.

    The slope at 0, which is what `sigmoid` gives far below 0 and where every run begins, is taken as 0: that of a root
    has no bound there.
    """
    found, positive = [slowest], slowest > 0.0
    for _ in range(count - 1):
        found.append(tf.where(positive, tf.sqrt(tf.where(positive, found[-1], 1.0)), 0.0))
    return tf.concat(found, axis=0)


def running_average(old: tf.Tensor, new: tf.Tensor, decay: tf.Tensor) -> tf.Tensor:
    """`(1 - δ) new + δ old`."""
    return (1.0 - decay) * new + decay * old


def asinh(y: tf.Tensor) -> tf.Tensor:
    """`ln(y + √(1 + y²))`, literally: linear near 0, logarithmic beyond ±1."""
    return tf.math.log(y + tf.sqrt(1.0 + tf.square(y)))


def scaled(averages: tf.Tensor, mean_squares: tf.Tensor) -> tf.Tensor:
    """The gradient in units of its own size, `asinh(a / √(m + 1e-16))`. `[S, N]`."""
    return asinh(averages / tf.sqrt(mean_squares + 1e-16))


def products(scaled_gradients: tf.Tensor) -> tf.Tensor:
    """Products of neighbouring time scales, `[S - 1, N]`: positive where the gradient keeps its sign."""
    return scaled_gradients[:-1] * scaled_gradients[1:]


def relative_log_mean_squares(mean_squares: tf.Tensor) -> tf.Tensor:
    """`ℓ_j - mean_j ℓ_j` with `ℓ = ln(m + 1e-16)`, `[S, N]`: how much of the gradient is noise that averages out."""
    logs = tf.math.log(mean_squares + 1e-16)
    return logs - tf.reduce_mean(logs, axis=0, keepdims=True)


def extreme_learning_rate(log_learning_rate: tf.Tensor) -> tf.Tensor:
    """How far a learning rate is above 1 (positive) or below 1e-6 (negative), in logarithms. `[1, N]`."""
    return tf.nn.relu(log_learning_rate) - tf.nn.relu(math.log(1e-6) - log_learning_rate)


def sigmoid(x: tf.Tensor) -> tf.Tensor:
    """`σ(x) = 1/2 + 1/2 tanh(x/2)`; XLA on a CPU needs three times as long for an exponential and a division."""
    return 0.5 + 0.5 * tf.tanh(0.5 * x)


def gru(
    inputs: tf.Tensor,
    state: tf.Tensor,
    gates: tuple[tf.Tensor, tf.Tensor],
    candidate: tuple[tf.Tensor, tf.Tensor],
) -> tf.Tensor:
    """One step of a gated recurrent unit whose bias may be another in each column::

        [ρ_r; ρ_u] = W_ruᵀ [v; s] + β_ru
        r = σ(ρ_r)                                    # reset
        u = σ(ρ_u)                                    # update; near 1 it keeps the old state
        κ = tanh(W_cᵀ [v; r s] + β_c)
        s' = u s + (1 - u) κ

    Args:
        inputs: v, `[F, N]`.
        state: s, `[H, N]`.
        gates: `W_ru [F + H, 2H]`, rows of the inputs first, and `β_ru`, `[2H, N]` or `[2H, 1]`.
        candidate: `W_c [F + H, H]`, and `β_c`, `[H, N]` or `[H, 1]`.

    Returns:
        `s' [H, N]`.
    """
    (w_gates, gates_bias), (w_candidate, candidate_bias) = gates, candidate
    reset_update = tf.matmul(w_gates, tf.concat([inputs, state], axis=0), transpose_a=True) + gates_bias
    reset, update = tf.split(sigmoid(reset_update), 2, axis=0)
    proposal = tf.matmul(w_candidate, tf.concat([inputs, reset * state], axis=0), transpose_a=True) + candidate_bias
    return update * state + (1.0 - update) * tf.tanh(proposal)


def unit_rms(direction: tf.Tensor, sizes: Sequence[int]) -> tf.Tensor:
    """`Δ / √(mean Δ² + 1e-16)`, the mean being over each tensor. `[1, N]`."""
    mean_squares = nest.segment_mean(tf.square(direction), sizes)
    return direction / nest.spread(tf.sqrt(mean_squares + 1e-16), sizes)


def straight_through_clip(values: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """`clip(x)` whose derivative is 1 everywhere, so that what lies outside can learn to come back."""
    return values + tf.stop_gradient(tf.clip_by_value(values, low, high) - values)


def initial_log_learning_rates(sizes: Sequence[int], seed: Seed, low: float, high: float, dtype) -> tf.Tensor:
    """`λ = ξ + ω` with `ξ ~ U(ln low / 2, ln high / 2)` per coordinate and ω, of the same kind, per tensor. `[1, N]`.

    So every rate lies in `[low, high]`, and those of a tensor are alike. If `low == high`, all rates are that.
    """
    low, high = math.log(low), math.log(high)
    if low == high:
        return tf.fill([1, sum(sizes)], tf.constant(low, dtype))
    own, shared = (
        tf.random.stateless_uniform([1, count], fold(seed, level), low / 2, high / 2, dtype)
        for level, count in enumerate((sum(sizes), len(sizes)))
    )
    return own + nest.spread(shared, sizes)
