"""One step of L2O-Scale as a pure function, and the state that it hands on.

The equations are those of the docstring of `cell.py`; the names of weights are those of `weights.py`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.cell import Cell
from l2o_tf.optimizers.lstm.columns import linear
from l2o_tf.optimizers.preprocess import bounded
from l2o_tf.optimizers.scale import equations as eq
from l2o_tf.optimizers.scale import weights as names
from l2o_tf.optimizers.scale.weights import MIN_LOG_LEARNING_RATE
from problems.base import Seed

FIXED_INPUT_DECAY, FIXED_SCALE_DECAY = 0.89, 0.93
"""Where they are not learned."""
TYPICAL_LEARNING_RATE = 1e-3
"""With which the learning rate shortcut compares."""


class ScaleState(NamedTuple):
    """What the cell remembers; N coordinates, K tensors, S time scales. In rows, as below; in `step` in columns.

    Attributes:
        coordinate: h, `[N, H_0]`.
        tensor: c, `[K, H_1]`; `[K, 0]` without that level.
        problem: z, `[1, H_2]`; `[1, 0]` without that level.
        input_decay, scale_decay: d_i and d_s, `[N, 1]`.
        log_learning_rate: λ, `[N, 1]`.
        averages, mean_squares: a and m, `[N, S]`.
        step: int32 scalar, steps done.
    """

    coordinate: tf.Tensor
    tensor: tf.Tensor
    problem: tf.Tensor
    input_decay: tf.Tensor
    scale_decay: tf.Tensor
    log_learning_rate: tf.Tensor
    averages: tf.Tensor
    mean_squares: tf.Tensor
    step: tf.Tensor


def initial_state(cell: Cell, sizes: Sequence[int], seed: Seed, dtype) -> ScaleState:
    """The state before the first step in rows, for tensors of `sizes` coordinates."""
    rows = sum(sizes)
    one, scales = tf.zeros([rows, 1], dtype), tf.zeros([rows, cell.time_scales], dtype)
    rates = one
    if cell.dynamic_learning_rates:
        rates = eq.initial_log_learning_rates(sizes, seed, *cell.initial_learning_rates, dtype)
        rates = tf.clip_by_value(tf.transpose(rates), MIN_LOG_LEARNING_RATE, cell.max_log_learning_rate)
    vectors = [
        tf.repeat(tf.cast(vector, dtype), count, axis=0)
        for vector, count in zip(initial_vectors(cell), (rows, len(sizes), 1), strict=True)
    ]
    return ScaleState(*vectors, one, one, rates, scales, scales, tf.zeros([], tf.int32))


def initial_vectors(cell: Cell) -> list[tf.Tensor]:
    """`h_0, c_0, z_0`, each `[1, H]`; 0 where they are not learned, of width 0 where there is no such level."""
    units = [*cell.levels, *(3 - len(cell.levels)) * [0]]
    names_of = [f"Level{level}_RNN/init_vector" for level in range(3)]
    weights = cell.named_weights
    dtype = weights["update_weights"].dtype
    return [weights[n] if n in weights else tf.zeros([1, u], dtype) for n, u in zip(names_of, units, strict=True)]


def step(cell: Cell, gradients: tf.Tensor, old: ScaleState, sizes: Sequence[int]) -> tuple[tf.Tensor, ScaleState]:
    """`(updates [1, N], state)` for gradients `[1, N]` of tensors of `sizes` coordinates.

    All coordinates see means over all others: one infinite feature would spoil all. So gradients are bounded; if their
    squares are finite, all that follows is finite.
    """
    old = _from_learned_start(cell, old)
    averages, mean_squares = _averaged(cell, bounded(gradients), old)
    scaled = eq.scaled(averages, mean_squares)
    features = tf.concat(_features(cell, scaled, mean_squares, old.log_learning_rate, sizes), axis=0)
    coordinate, tensor, problem = _levels(cell, features, old, sizes)
    read = _read_out(cell, coordinate)
    rate, log_learning_rate = _learning_rate(cell, read, old.log_learning_rate)
    return -rate * _direction(cell, read, scaled, sizes), ScaleState(
        coordinate,
        tensor,
        problem,
        _decay(read, "inp_decay", FIXED_INPUT_DECAY),
        _decay(read, "scl_decay", FIXED_SCALE_DECAY),
        log_learning_rate,
        averages,
        mean_squares,
        old.step + 1,
    )


def _from_learned_start(cell, state: ScaleState) -> ScaleState:
    """At step 0 the vectors are looked up again: the same values, and the way for the meta-gradient to them."""
    pairs = zip(initial_vectors(cell), state[:3], strict=True)
    return ScaleState(*(tf.where(state.step == 0, tf.transpose(start), old) for start, old in pairs), *state[3:])


def _averaged(cell, gradients, old: ScaleState):
    """`(a', m')`, both `[S, N]`.

    The programs set d_s to 0 for a tensor whose m are all 0. That is so at the first step only, where d_s is 0.
    """
    averages, memory = gradients, old.scale_decay
    if cell.time_scales > 1:
        averages = eq.running_average(old.averages, gradients, eq.decays(old.input_decay, cell.time_scales))
    if cell.scale_decay_per_time_scale:
        memory = eq.decays(memory, cell.time_scales)
    return averages, eq.running_average(old.mean_squares, tf.square(averages) + 1e-12, memory)


def _features(cell, scaled, mean_squares, log_rate, sizes):
    """The parts of φ; the mean learning rates are those before this step."""
    found = [scaled]
    if cell.gradient_products:
        found.append(eq.products(scaled))
    if cell.log_mean_squares:
        found.append(eq.relative_log_mean_squares(mean_squares))
    if cell.relative_learning_rate == "problem":
        found.append(log_rate - tf.reduce_mean(log_rate))
    if cell.relative_learning_rate == "tensor":
        found.append(log_rate - nest.spread(nest.segment_mean(log_rate, sizes), sizes))
    if cell.extreme_learning_rate:
        found.append(eq.extreme_learning_rate(log_rate))
    if cell.learning_rate_shortcut:
        found.append(log_rate - math.log(TYPICAL_LEARNING_RATE))
    return found


def _levels(cell, features, old: ScaleState, sizes):
    """`(h', c', z')`: upwards means of what is new, downwards biases from what is old."""
    levels, tensor, problem = len(cell.levels), old.tensor, old.problem
    bias = nest.repeated(_bias(cell, names.COORDINATE_GRU), len(sizes))
    if levels > 1:
        bias += _affine(cell, names.TENSOR_TO_COORDINATE, old.tensor)
    if levels > 2:
        bias += _affine(cell, names.PROBLEM_TO_COORDINATE, old.problem)
    coordinate = _gru(cell, names.COORDINATE_GRU, features, old.coordinate, bias, sizes)
    if levels > 1:
        bias = _bias(cell, names.TENSOR_GRU)
        if levels > 2:
            bias += _affine(cell, names.PROBLEM_TO_TENSOR, old.problem)
        seen = nest.segment_mean(tf.concat([coordinate, features], axis=0), sizes)
        tensor = _gru(cell, names.TENSOR_GRU, seen, old.tensor, bias)
    if levels > 2:
        seen = tensor[:, -1:] if cell.global_input == "last" else tf.reduce_mean(tensor, axis=1, keepdims=True)
        problem = _gru(cell, names.PROBLEM_GRU, seen, old.problem, _bias(cell, names.PROBLEM_GRU))
    return coordinate, tensor, problem


def _read_out(cell, coordinate):
    """`h' w + b` for everything that is read out of h', by name, each `[1, N]`; one product for all."""
    weights = cell.named_weights
    found = [name for name in ("update", "learning_rate", "inp_decay", "scl_decay") if f"{name}_weights" in weights]
    w = tf.concat([weights[f"{name}_weights"] for name in found], axis=1)
    b = tf.concat([weights.get(f"{name}_bias", tf.zeros([1], w.dtype)) for name in found], axis=0)
    return dict(zip(found, tf.split(linear(coordinate, w, b), len(found), axis=0), strict=True))


def _direction(cell, read, scaled, sizes):
    """Δ, `[1, N]`."""
    direction = read["update"]
    if cell.gradient_shortcut:
        direction += tf.matmul(cell.named_weights[names.SHORTCUT], scaled, transpose_a=True)
    return eq.unit_rms(direction, sizes) if cell.dynamic_learning_rates else direction


def _learning_rate(cell, read, old):
    """`(exp(λ* + o), λ')`, both `[1, N]`."""
    if not cell.dynamic_learning_rates:
        return tf.ones_like(old), old
    new = eq.straight_through_clip(old + read["learning_rate"], MIN_LOG_LEARNING_RATE, cell.max_log_learning_rate)
    momentum = tf.sigmoid(cell.named_weights[names.RATE_MOMENTUM])
    rate = tf.exp(new + cell.named_weights[names.STEP_SIZE])
    return rate, eq.running_average(old, new, momentum)


def _decay(read, name: str, fixed: float):
    return eq.sigmoid(read[name]) if name in read else fixed * tf.ones_like(read["update"])


def _affine(cell, name: str, columns):
    return linear(columns, cell.named_weights[f"{name}/Matrix"], cell.named_weights[f"{name}/Bias"])


def _bias(cell, name: str):
    """A unit's own bias, `[3H, 1]`."""
    parts = [cell.named_weights[f"{name}/{part}/Affine/Bias"] for part in ("gates", "candidate")]
    return tf.concat(parts, axis=0)[:, None]


def _gru(cell, name: str, inputs, state, bias, sizes=None):
    """For columns that share a bias, or, with `sizes`, whose biases `[3H, K]` are those of their tensors."""
    biases = tf.split(bias, [2 * state.shape[0], state.shape[0]], axis=0)
    if sizes:
        biases = [nest.spread(each, sizes) for each in biases]
    matrices = (cell.named_weights[f"{name}/{part}/Affine/Matrix"] for part in ("gates", "candidate"))
    return eq.gru(inputs, state, *zip(matrices, biases, strict=True))
