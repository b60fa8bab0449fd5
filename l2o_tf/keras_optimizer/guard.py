"""A safeguard for learned optimizers: Adam takes over where the learned update is not finite or the loss gets stuck.

A learned optimizer is good at the runs that it was trained on; on others it may stall after some hundred steps, or
undo what it has reached. Safeguarded learned optimization (Heaton et al., *Safeguarded Learned Convex Optimization*,
2020, arXiv:2003.01880) falls back to a hand-designed rule; Prémont-Schwarz et al. (*A Simple Guard for Learned
Optimizers*, ICML 2022, arXiv:2201.12426) decide by the loss alone: both rules run from the same point, and the better
one is kept. The guard here does so once, when the learned optimizer has got stuck::

    in each step       Δ_k = Adam's update for every tensor k for which θ_k + Δ_k would not be finite;
                       for Adam, gradients are clipped to ±1e18, and those that are not finite count as 0
    every P steps      L   = mean loss of the period;    better if L is below the best one so far
    give up            when R periods in a row were not better, or a loss is not finite
    then race          Adam goes from θ_0, for as many steps as the learned optimizer took to the end of its best period
    and go on          with Adam: as it is if a period of the race was better than the best one; otherwise, from where
                       the best period began, with fresh moments

It never goes back to the learned optimizer. What it promises, up to the noise of mean losses: it ends either behind
Adam alone by no more steps than were spent before giving up, or on a path that was ahead of Adam's at the same step.
A learned optimizer that goes on improving, however slowly, is left alone.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.optimizers import Step, analytic
from l2o_tf.optimizers.base import Params, State
from l2o_tf.optimizers.preprocess import LARGEST

NEVER = -1
LEARNED, RACE, FROM_START, FROM_BEST = range(4)
"""Phases: the learned optimizer; Adam from θ_0, undecided; Adam from θ_0 for good; Adam from the best period."""


@dataclasses.dataclass(frozen=True)
class Guard:
    """When to fall back, and to what.

    Attributes:
        learning_rate: of Adam, positive. Default 0.001, Keras's.
        period: P, steps over which losses are averaged, positive. Default 100.
        patience: R, periods in a row that may be no better than the best one, positive. Default 5.

    Raises:
        ValueError: if a number is not positive, or steps are no integers.

    Example:
        >>> import l2o_tf
        >>> optimizer = l2o_tf.LearnedOptimizer("L2O-DM", guard=l2o_tf.Guard(learning_rate=0.01, patience=3))
    """

    learning_rate: float = 0.001
    period: int = 100
    patience: int = 5

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            kind, expected = (float | int, "number") if name == "learning_rate" else (int, "integer")
            if not isinstance(value, kind) or not value > 0:
                raise ValueError(f"Received {name}={value!r} for the guard, expected a positive {expected}.")

    @classmethod
    def of(cls, given: "bool | Guard | Mapping[str, Any]") -> "Guard | None":
        """The guard that `LearnedOptimizer(guard=given)` has."""
        if given is False or isinstance(given, Guard):
            return given or None
        known = [field.name for field in dataclasses.fields(cls)]
        if given is True or (isinstance(given, Mapping) and set(given) <= set(known)):
            return cls(**({} if given is True else given))
        raise ValueError(f"Received guard={given!r}, expected True, False, a Guard or a dictionary of some of {known}.")


class GuardState(NamedTuple):
    """What the guard remembers; scalars are int32 or float32 `[]`."""

    phase: tf.Tensor  # LEARNED, RACE, FROM_START or FROM_BEST
    adam: tuple  # its moments
    start: Params  # θ_0
    begin: Params  # θ at the beginning of this period
    best_begin: Params  # θ at the beginning of the best period
    best: tf.Tensor  # its mean loss
    best_end: tf.Tensor  # steps that had been done when it ended
    total: tf.Tensor  # sum of the losses of this period so far
    step: tf.Tensor  # steps so far
    clock: tf.Tensor  # steps so far in this phase
    stale: tf.Tensor  # periods since the best one
    fallback: tf.Tensor  # the step in which the learned optimizer was given up, or -1
    rescues: tf.Tensor  # how many updates of tensors were Adam's because the learned one was not finite


def initial_state(guard: Guard, params: Params) -> GuardState:
    """The state before the first step; of `params` only the shapes count."""
    zero = tf.zeros([], tf.int32)
    return GuardState(
        phase=tf.constant(LEARNED),
        adam=_adam(guard).initial_state(params, zero),
        best=tf.constant(float("inf")),
        total=tf.zeros([]),
        fallback=tf.constant(NEVER),
        **dict.fromkeys(("start", "begin", "best_begin"), params),
        **dict.fromkeys(("best_end", "step", "clock", "stale", "rescues"), zero),
    )


def is_finite(x: tf.Tensor) -> tf.Tensor:
    """Which numbers of a state are finite; integers are."""
    return tf.math.is_finite(x) if x.dtype.is_floating else tf.ones_like(x, tf.bool)


def step(
    guard: Guard,
    propose: Callable[[], tuple[Params, State]],
    learned: State,
    state: GuardState,
    loss: tf.Tensor,
    grads: Params,
    params: Params,
    is_finite: Callable[[tf.Tensor], tf.Tensor] = is_finite,
) -> tuple[Params, tf.Tensor, Params, State, GuardState]:
    """One guarded step.

    Args:
        propose: makes the learned updates and the learned optimizer's next state; not run any more after the fallback.
        learned: the learned optimizer's state as it is.
        state: the guard's.
        loss: `f(θ_t)` on the minibatch of the gradients.
        grads: `∇f(θ_t)`.
        params: `θ_t`.
        is_finite: which numbers of the learned optimizer's state are.

    Returns:
        `(updates, whether θ goes back instead, where to, learned optimizer's state, guard's state)`. With the first
        three, `moved` makes `θ_{t+1}`.
    """
    adam = _adam(guard)
    state, back, there = _judged(guard, _watched(guard, state, loss, params), loss)
    by_adam, moments = adam.update(Step(tf.nest.map_structure(_digestible, grads), params), state.adam)

    def trusting():
        proposed, after = propose()
        finite = {name: tf.reduce_all(tf.math.is_finite(params[name] + proposed[name])) for name in params}
        updates = {name: tf.where(finite[name], proposed[name], by_adam[name]) for name in proposed}
        rescues = tf.add_n([tf.cast(~ok, tf.int32) for ok in finite.values()])
        kept = tf.nest.map_structure(lambda new, old: tf.where(is_finite(new), new, old), after, learned)
        return updates, kept, rescues

    def fallen():
        return by_adam, learned, tf.zeros([], tf.int32)

    updates, learned, rescues = tf.cond(state.phase == LEARNED, trusting, fallen)
    fresh = adam.initial_state(params, tf.zeros([], tf.int32))
    moments = tf.nest.map_structure(lambda new, old: tf.where(back, new, old), fresh, moments)
    clock = tf.where(back, 0, state.clock + 1)
    rescues += state.rescues
    state = state._replace(adam=moments, step=state.step + 1, clock=clock, rescues=rescues)
    return updates, back, there, learned, state


def moved(name: str, tensor: tf.Tensor, updates: Params | None, back: tf.Tensor, there: Params) -> tf.Tensor:
    """`θ_{t+1}` of a tensor in its own precision. `updates`: None if it stays, unless all go back."""
    here = tensor if updates is None else tensor + tf.cast(updates[name], tensor.dtype)
    return tf.where(back, tf.cast(there[name], tensor.dtype), here)


def _watched(guard: Guard, state: GuardState, loss: tf.Tensor, params: Params) -> GuardState:
    """The loss of this step goes into its period."""
    opens = state.clock % guard.period == 0
    return state._replace(
        start=_where(state.step == 0, params, state.start),
        begin=_where(opens, params, state.begin),
        best_begin=_where(state.step == 0, params, state.best_begin),
        total=tf.where(opens, 0.0, state.total) + loss,
    )


def _judged(guard: Guard, state: GuardState, loss: tf.Tensor) -> tuple[GuardState, tf.Tensor, Params]:
    """A period that ends is judged: the state, whether θ is to go back, and where to."""
    steps = state.clock + 1
    ends = steps % guard.period == 0
    mean = state.total / guard.period
    better = ends & (mean < state.best)
    bad = ~tf.math.is_finite(loss)
    learning, racing = state.phase == LEARNED, state.phase == RACE
    stale = tf.where(ends, tf.where(better, 0, state.stale + 1), state.stale)

    record = learning & better
    stuck = learning & ((stale >= guard.patience) | bad)
    won = racing & better
    beaten = racing & ~better & (bad | (ends & (steps >= state.best_end)))

    best_begin = _where(record, state.begin, state.best_begin)
    phase = tf.where(stuck, RACE, tf.where(won, FROM_START, tf.where(beaten, FROM_BEST, state.phase)))
    state = state._replace(
        phase=phase,
        best_begin=best_begin,
        best=tf.where(record, mean, state.best),
        best_end=tf.where(record, steps, state.best_end),
        stale=stale,
        fallback=tf.where(stuck, state.step, state.fallback),
    )
    return state, stuck | beaten, _where(stuck, state.start, best_begin)


def _adam(guard: Guard):
    return analytic.adam(guard.learning_rate, epsilon=1e-7)


def _where(condition: tf.Tensor, yes: Params, no: Params) -> Params:
    return {name: tf.where(condition, yes[name], no[name]) for name in no}


def _digestible(grad: tf.Tensor) -> tf.Tensor:
    """The gradient for Adam: not finite counts as 0; so large that Adam cannot square it, as the largest it can."""
    return tf.clip_by_value(tf.where(tf.math.is_finite(grad), grad, tf.zeros_like(grad)), -LARGEST, LARGEST)
