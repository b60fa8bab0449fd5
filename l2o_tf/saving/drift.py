"""Measures whether an optimizer comes to rest or drifts where there is no gradient.

A recurrent network without a gradient goes to a fixed point. It may have several, each with its own update; earlier
gradients decide which it reaches. So the measurement begins after gradients of several sizes, noise and steady ones::

    g_t = s ε_t  or  g_t = ±s,    t = 1 ... 50        # ε_t ~ N(0, 1);  s = 1e-4, 1e-2, 1, 100, and 0: never a gradient
    g_t = 0,                      t = 51 ... 1,050

All cases are tensors of one optimizee. In half of them the gradients of all coordinates end; in the others, those of
half of the coordinates, as in an embedding of which some rows are no longer seen.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.optimizers import Optimizer
from l2o_tf.unrolling import unroll
from problems.base import make_seed

SEEN, QUIET = 50, 1000  # steps with gradients, and steps without
SIZES = (1e-4, 1e-2, 1.0, 100.0)  # of gradients: those of networks, and far larger ones
REST = 1e-7  # a smaller update per step counts as rest: ten thousand of them add up to a thousandth
LAST = 10  # steps at the end by which it is judged whether there is rest
_COORDINATES = 8


class Quiet(NamedTuple):
    """How far coordinates without a gradient are moved."""

    moved: float  # the largest distance, within 1,000 steps, from where they were when gradients ended
    last: float  # the largest update of the last ten of those steps, in absolute value


class Drift(NamedTuple):
    """The movement of coordinates that never had a gradient, and of those whose gradients have ended."""

    never: Quiet
    ended: Quiet


def measure(optimizer: Optimizer) -> Drift:
    """Runs the optimizer and measures its drift; takes a second or two."""
    return Drift(*map(_quiet, updates(optimizer)))


def updates(optimizer: Optimizer) -> tuple[np.ndarray, np.ndarray]:
    """Updates without a gradient: `[1000, N]` where there never was one, `[1000, M]` where gradients have ended."""
    kinds = [(size, kind, rows) for size in (0.0, *SIZES) for kind in ("noise", "steady") for rows in ("all", "half")]
    random, n, signs = np.random.default_rng(0), _COORDINATES, (-1.0) ** np.arange(_COORDINATES)
    grads = np.ones([SEEN + QUIET + 1, len(kinds), n], np.float32)
    for k, (size, kind, rows) in enumerate(kinds):
        grads[:, k] = size * (random.normal(size=grads[:, k].shape) if kind == "noise" else signs)
        grads[SEEN:, k, : n if rows == "all" else n // 2] = 0.0
    shapes = [[len(kinds), n]] if optimizer.coordinatewise else [[n]] * len(kinds)  # one tensor is traced faster
    params = {str(k): tf.zeros(shape) for k, shape in enumerate(shapes)}

    @tf.function(autograph=False)
    def run(state, batches):
        return unroll.unroll(unroll.replayed, optimizer, state, batches, record=True)[1].updates

    state = unroll.initial_state(optimizer, params, make_seed(0))
    found = run(state, tf.constant(grads.reshape(len(grads), -1)))[SEEN:].numpy()
    quiet, never = (grads[-1] == 0).ravel(), np.repeat([size == 0 for size, *_ in kinds], n)
    return found[:, never], found[:, quiet & ~never]


def _quiet(found: np.ndarray) -> Quiet:
    return Quiet(float(np.abs(np.cumsum(found, axis=0)).max()), float(np.abs(found[-LAST:]).max()))
