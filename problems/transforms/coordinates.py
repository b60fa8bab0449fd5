"""Problem -> Problem: other coordinates, another scale of the loss, another start, sums, other data to measure on.

A transform keeps name, data and sampling unless it says otherwise. A transform of the loss also transforms the measure,
both by `seen_through`. Transforms of the gradient alone are in problems/transforms/gradients.py.
"""

import numbers
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from problems.base import (
    Constants,
    Params,
    Problem,
    Seed,
    fold,
    make_seed,
    measure_of,
    measured_by,
    no_batches,
    normal_like,
    require_not_negative,
    require_positive,
    shapes_of,
)

_SCALE, _START, _SAMPLE = 0x5CA1E, 0x57A27, 0x5A3B1E  # purposes of seeds


class Scaled(NamedTuple):
    """Constants of a scaled problem: those of the problem inside, and c, which has the structure of the parameters."""

    inner: Constants
    scale: Params


def random_scaling(problem: Problem, bound: float = 3.0) -> Problem:
    """Rescales every coordinate at random: `g(φ) = f(c φ)` from `φ_0 = θ_0 / c`, with `ln c ~ U(−bound, bound)`.

    Drawn anew by every `init`, that is for every run. The loss starts where that of `problem` starts with the same
    seed, and the gradient is c times the original one, so that an optimizer meets gradients of many sizes.

    Source: Lv, Jiang and Li, *Learning Gradient Descent: Better Generalization and Longer Horizons*, 2017
    (https://arxiv.org/abs/1703.03633), section 4.1; the original program's `if_scale` with its bound of 3.

    Args:
        problem: f.
        bound: largest absolute value of ln c, from 0 to 80, else a ValueError; default 3.0: c between 0.05 and 20.
    """
    require_not_negative("bound", bound)
    if bound > 80:
        raise ValueError(f"Received bound={bound}, expected at most 80: exp(bound) is to be a float32.")

    def init(seed):
        params, inner = problem.init(seed)
        scale = {
            key: tf.exp(tf.random.stateless_uniform(value.shape, fold(seed, _SCALE, k), -bound, bound, value.dtype))
            for k, (key, value) in enumerate(params.items())
        }
        return {key: value / scale[key] for key, value in params.items()}, Scaled(inner, scale)

    def inside(params, constants):
        return {key: constants.scale[key] * value for key, value in params.items()}, constants.inner

    return seen_through(problem, init, inside)


def rescale(problem: Problem, scale: float) -> Problem:
    """The same function on a larger or smaller scale: `g(φ) = f(φ / s)` from `φ_0 = s θ_0` (original: Rescale).

    A scale s that is not positive and finite is a ValueError.
    """
    if not isinstance(scale, numbers.Real) or not 0 < scale < float("inf"):
        raise ValueError(f"Received scale={scale!r}, expected a positive, finite number.")

    def init(seed):
        params, constants = problem.init(seed)
        return {key: scale * value for key, value in params.items()}, constants

    def inside(params, constants):
        return {key: value / scale for key, value in params.items()}, constants

    return seen_through(problem, init, inside)


def log_objective(problem: Problem, epsilon: float = 1e-6) -> Problem:
    """The logarithm of the loss, from 0 upwards: `g(θ) = ln(f(θ) + ε) − ln ε` (original: LogObjective).

    The loss must not be negative. An ε that is not positive is a ValueError.
    """
    if not epsilon > 0:
        raise ValueError(f"Received epsilon={epsilon}, expected a positive number.")

    def logarithm(loss, params, constants):
        return tf.math.log(loss + epsilon) - tf.math.log(tf.constant(epsilon, loss.dtype))

    return seen_through(problem, problem.init, lambda params, constants: (params, constants), logarithm)


def normal_start(problem: Problem, stddev: float = 1.0) -> Problem:
    """Starts every parameter from N(0, stddev²), wherever `problem` starts; its constants remain.

    A negative `stddev` is a ValueError.
    """
    require_not_negative("stddev", stddev)

    def init(seed):
        params, constants = problem.init(seed)
        return normal_like(params, [], fold(seed, _START), stddev), constants

    return problem._replace(init=init)


def sum_of(problems: Sequence[Problem], weights: Sequence[float] | None = None) -> Problem:
    """Many problems as one: `f(θ) = Σ_k w_k f_k(θ_k)`; parameters of problem k are named `k/...` (original: SumTask).

    A ValueError, if there is no problem, or one with data, or not one weight for each. By default all w_k are 1.
    """
    weights = [1.0] * len(problems) if weights is None else weights
    if not all(isinstance(weight, numbers.Real) for weight in weights):
        raise ValueError(f"Received weights {weights!r}, expected numbers.")
    if len(weights) != len(problems):
        raise ValueError(f"Received {len(weights)} weights for {len(problems)} problems, expected one for each.")
    with_data = [problem.name for problem in problems if problem.data is not None]
    if with_data or not problems:
        raise ValueError(f"Received {', '.join(with_data) or 'no problem'}, expected problems without data.")
    measures = [measure_of(problem) for problem in problems]

    def split(params):
        parts: list[Params] = [{} for _ in problems]
        for key, value in params.items():
            index, _, inner = key.partition("/")
            parts[int(index)][inner] = value
        return parts

    def init(seed):
        starts = [problem.init(fold(seed, k)) for k, problem in enumerate(problems)]
        params = {f"{k}/{key}": value for k, (part, _) in enumerate(starts) for key, value in part.items()}
        return params, tuple(constants for _, constants in starts)

    def sample(seed, num_steps):
        return tuple(problem.sample(fold(seed, k), num_steps) for k, problem in enumerate(problems))

    def loss(params, constants, batch):
        parts = zip(problems, split(params), constants, batch if has_batches else [batch] * len(problems), strict=True)
        return tf.add_n([w * problem.loss(*arguments) for w, (problem, *arguments) in zip(weights, parts, strict=True)])

    def measure(params, constants, part=None):
        parts = part if part is not None and has_batches else [None] * len(problems)
        found = zip(measures, split(params), constants, parts, strict=True)
        losses = [w * measured(*arguments)["loss"] for w, (measured, *arguments) in zip(weights, found, strict=True)]
        return {"loss": tf.add_n(losses), "accuracy": None}

    xla, has_batches = all(p.xla for p in problems), any(p.sample is not no_batches for p in problems)
    return Problem("sum_of", init, sample if has_batches else no_batches, loss, measure=measure, xla=xla)


def seen_through(
    problem: Problem,
    init: Callable[[Seed], tuple[Params, Constants]],
    inside: Callable[[Params, Constants], tuple[Params, Constants]],
    outside: Callable[[tf.Tensor, Params, Constants], tf.Tensor] = lambda loss, params, constants: loss,
) -> Problem:
    """`g(θ) = outside(f(inside(θ)), θ)`, in the loss and in what measures it.

    `init` is that of g. `inside` makes parameters and constants of f of those of g. `outside` gets those of g.
    """

    def loss(params, constants, batch):
        return outside(problem.loss(*inside(params, constants), batch), params, constants)

    def measure(params, constants, part=None):
        found = problem.measure(*inside(params, constants), part)
        return found | {"loss": outside(found["loss"], params, constants)}

    return problem._replace(init=init, loss=loss, measure=problem.measure and measure)


def measured_on_minibatches(problem: Problem, count: int) -> Problem:
    """The same runs, measured on some fixed minibatches in the place of all data.

    That is cheaper where f is to be known at every step, and free of the noise between minibatches. The minibatches are
    the same in every run. A problem without minibatches remains as it is. A `count` of less than 1 is a ValueError.
    """
    require_positive("count", count)
    if problem.sample is no_batches:
        return problem
    measured, fixed = problem.measure or measured_by(problem.loss), problem.sample(fold(make_seed(0), _SAMPLE), count)

    def measure(params, constants, part=None):
        return measured(params, constants, fixed if part is None else part)

    return problem._replace(measure=measure)


def measured_on(problem: Problem, other: Problem) -> Problem:
    """The same runs, measured on the data of another problem: training rows for the steps, held-out ones for the rest.

    Evaluation then measures the held-out data at the parameters of the run. So does a lesson that is judged by
    `objective_of` the problem.

    >>> from problems import make_problem, measured_on
    >>> problem = measured_on(make_problem("digits", split="train"), make_problem("digits", split="test"))
    >>> str(problem.data)
    'digits/train (1,437 examples, ...)'
    >>> sorted(problem.measure(*problem.init([0, 0])))
    ['accuracy', 'loss']

    Args:
        problem: what is optimized.
        other: the same function of the same parameters and constants on other data.

    Raises:
        ValueError: if the parameters differ, or `other` has no measure.
    """
    ours, others = ({name: spec.shape for name, spec in shapes_of(each).items()} for each in (problem, other))
    if ours != others:
        raise ValueError(
            f"Received {other.name!r} with parameters {others}, expected those of {problem.name!r}: {ours}."
        )
    return problem._replace(measure=measure_of(other))
