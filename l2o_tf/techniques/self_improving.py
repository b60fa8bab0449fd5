"""Self-improving: student and analytic optimizers take turns on one trajectory (paper, section 4.2).

At every step one optimizer of the pool `{O_0 = student, O_1, ..., O_k}` is drawn, and its update is applied. At the
start of meta-training all are equally likely; the auxiliary ones then fade out linearly::

    p_i(e) = p_i(0) max(0, 1 - e / E),   i = 1 ... k          p_i(0) = 1 / (k + 1)
    p_0(e) = 1 - Σ_i p_i(e)

with meta-epoch e and E = 100 in the paper. The student is judged by the losses as always. Every optimizer of the pool
sees every gradient, so its state is up to date when its turn comes; the meta-gradient flows through the student's turns
only.

The paper gives 1/(k + 1) in its text and 0.33 for k = 3 in its experiment; `initial_probability` takes either.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.optimizers.base import Optimizer
from l2o_tf.techniques.lesson import Lesson, own_trajectory
from problems.base import Problem, fold


class MixtureState(NamedTuple):
    """The states of the pool, whose turn it is, `turns [T]` (0: the student), and the step t in the window."""

    pool: list[Any]
    turns: tf.Tensor
    step: tf.Tensor


class Mixture(Optimizer):
    """A pool of optimizers of which one acts at every step, as `MixtureState.turns` says."""

    def __init__(self, student: Optimizer, auxiliaries: Sequence[Optimizer], unroll_length: int):
        self.name = f"mixture({student.name})"
        self.pool = [student, *auxiliaries]
        self.unroll_length = unroll_length

    def initial_state(self, params, seed):
        states = [optimizer.initial_state(params, seed) for optimizer in self.pool]
        return MixtureState(states, tf.zeros([self.unroll_length], tf.int32), tf.zeros([], tf.int32))

    def update(self, grads, state, params):
        steps = [o.update(grads, s, params) for o, s in zip(self.pool, state.pool, strict=True)]
        turn = state.turns[state.step]
        updates = {name: tf.stack([proposed[name] for proposed, _ in steps])[turn] for name in params}
        return updates, MixtureState([after for _, after in steps], state.turns, state.step + 1)

    @property
    def named_variables(self):
        return self.pool[0].named_variables


def probabilities(meta_epoch, num_auxiliaries: int, decay_epochs: int, initial_probability: float | None) -> tf.Tensor:
    """`[p_0, p_1, ..., p_k]` at a meta-epoch, as in the module's docstring."""
    start = 1.0 / (num_auxiliaries + 1) if initial_probability is None else initial_probability
    left = tf.maximum(0.0, 1.0 - tf.cast(meta_epoch, tf.float32) / decay_epochs)
    auxiliaries = tf.fill([num_auxiliaries], start * left)
    return tf.concat([[1.0 - tf.reduce_sum(auxiliaries)], auxiliaries], axis=0)


def self_improving(
    problem: Problem,
    student: Optimizer,
    auxiliaries: Sequence[Optimizer],
    *,
    decay_epochs: int = 100,
    initial_probability: float | None = None,
    unroll_length: int = 20,
    **options,
) -> Lesson:
    """The lesson in which the student shares its trajectory with `auxiliaries`.

    Args:
        problem: what is optimized.
        student: the optimizer that learns, `O_0`.
        auxiliaries: `O_1 ... O_k`; Adam, SGD and Adagrad in the paper.
        decay_epochs: E, meta-epochs after which only the student acts. Default 100, from the paper.
        initial_probability: `p_i(0)` of each auxiliary, at most 1/k. Default (None): `1/(k + 1)`.
        unroll_length: T, steps per truncation window. Default 20.
        **options: of `own_trajectory`.

    Raises:
        ValueError: if `initial_probability` is not in `[0, 1/k]`.
    """
    count = len(auxiliaries)
    if initial_probability is not None and not 0 <= initial_probability * count <= 1:
        raise ValueError(f"Received initial_probability={initial_probability}, expected one in [0, 1/{count}].")
    alone = own_trajectory(
        problem, Mixture(student, auxiliaries, unroll_length), unroll_length=unroll_length, **options
    )

    def start(seed, meta_epoch):
        return alone.start(seed, meta_epoch), probabilities(meta_epoch, count, decay_epochs, initial_probability)

    def window(carry, seed):
        (state, constants), chances = carry
        draws = tf.random.stateless_categorical(tf.math.log(chances)[None], unroll_length, fold(seed, 1), tf.int32)[0]
        mixture = state.optimizer._replace(turns=draws, step=tf.zeros([], tf.int32))
        inner, outcome = alone.window((state._replace(optimizer=mixture), constants), seed)
        return (inner, chances), outcome

    return Lesson("train", start, window)
