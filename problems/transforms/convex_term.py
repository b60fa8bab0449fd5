"""RNNprop's convex helper: a simple function of coordinates of its own, added to the loss during meta-training.

Source: Lv, Jiang and Li, *Learning Gradient Descent: Better Generalization and Longer Horizons*, 2017
(https://arxiv.org/abs/1703.03633), section 4.2. Numbers are those of its program
(https://github.com/vfleaking/rnnprop).
"""

from typing import NamedTuple

import tensorflow as tf

from problems.base import Constants, Problem, fold, no_batches, require_positive
from problems.transforms.coordinates import random_scaling, seen_through

KEY = "convex_term/x"
"""Name of the helper's coordinates among the parameters."""

LARGEST = 10.0
"""Squares above this value count as this value, and are flat."""

_TERM = 0xC0  # the purpose of the seed


class WithTerm(NamedTuple):
    """Constants of a problem with the term: those of the problem, and those of the term."""

    inner: Constants
    term: Constants


def convex_term(problem: Problem, num_dims: int = 20, bound: float = 1.0) -> Problem:
    """Adds `1/n Σ_i min((c_i x_i − a_i)², 10)` to every loss, with n coordinates `x` that are new and start at 0.

    `a ~ U(−1, 1)` and `ln c ~ U(−bound, bound)` are drawn anew by every `init`. The parameters of `problem` come first.
    A coordinate-wise optimizer takes the same steps in them as without the term. Name, data and sampling are those of
    `problem`. The measure has the term, too.

    Args:
        problem: the problem to be extended.
        num_dims: n, positive, else a ValueError; default 20.
        bound: of ln c, as in `random_scaling`; default 1.0.
    """
    require_positive("num_dims", num_dims)

    def begin(seed):
        return {"x": tf.zeros([num_dims])}, tf.random.stateless_uniform([num_dims], seed, -1.0, 1.0)

    def clipped_squares(params, constants, batch):
        return tf.reduce_mean(tf.clip_by_value(tf.square(params["x"] - constants), 0.0, LARGEST))

    term = random_scaling(Problem("clipped_squares", begin, no_batches, clipped_squares), bound)

    def init(seed):
        (params, inner), (extra, constants) = problem.init(seed), term.init(fold(seed, _TERM))
        return {**params, KEY: extra["x"]}, WithTerm(inner, constants)

    def inside(params, constants):
        return {key: value for key, value in params.items() if key != KEY}, constants.inner

    def added(loss, params, constants):
        return loss + term.loss({"x": params[KEY]}, constants.term, None)

    return seen_through(problem, init, inside, added)
