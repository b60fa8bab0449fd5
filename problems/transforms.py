"""Problem -> Problem: what a training technique changes about the optimizee."""

from typing import NamedTuple

import tensorflow as tf

from problems.base import Batch, Constants, Params, Problem, Seed, fold

_SCALE = 0x5CA1E  # the purpose of the seed


class Scaled(NamedTuple):
    """Constants of a scaled problem: those of the problem inside, and c, which has the structure of the parameters."""

    inner: Constants
    scale: Params


def random_scaling(problem: Problem, bound: float = 3.0) -> Problem:
    """Rescales every coordinate at random: `g(φ) = f(c φ)` from `φ_0 = θ_0 / c`, with `ln c ~ U(−bound, bound)`.

    Drawn anew by every `init`, that is for every run. The loss starts where that of `problem` starts with the same
    seed, and the gradient is c times the original one, so that an optimizer meets gradients of many sizes. Name, data
    and sampling remain those of `problem`.

    Source: Lv, Jiang and Li, *Learning Gradient Descent: Better Generalization and Longer Horizons*, 2017
    (https://arxiv.org/abs/1703.03633), section 4.1; the original program's `if_scale` with its bound of 3.

    Args:
        problem: the problem to be scaled.
        bound: largest absolute value of ln c; default 3.0, that is c between 0.05 and 20. 0 changes nothing.

    Raises:
        ValueError: if `bound` is negative or not finite.
    """
    if not 0 <= bound < float("inf"):
        raise ValueError(f"Received bound={bound}, expected a finite number of at least 0.")

    def init(seed: Seed) -> tuple[Params, Constants]:
        params, inner = problem.init(seed)
        scale = {
            key: tf.exp(
                tf.random.stateless_uniform(
                    value.shape, fold(seed, _SCALE, k), -bound, bound, value.dtype, alg="philox"
                )
            )
            for k, (key, value) in enumerate(params.items())
        }
        return {key: value / scale[key] for key, value in params.items()}, Scaled(inner, scale)

    def loss(params: Params, constants: Scaled, batch: Batch) -> tf.Tensor:
        return problem.loss(_times(params, constants.scale), constants.inner, batch)

    def evaluate(params: Params, constants: Scaled) -> dict[str, tf.Tensor]:
        return problem.evaluate(_times(params, constants.scale), constants.inner)

    return problem._replace(init=init, loss=loss, evaluate=evaluate if problem.evaluate else None)


def _times(params: Params, scale: Params) -> Params:
    return {key: scale[key] * value for key, value in params.items()}
