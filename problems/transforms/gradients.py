"""Problem -> Problem: gradients with noise or gaps.

These transforms change the gradient that an optimizer sees, and nothing else. The value of the loss stays the same. The
measure is that of the problem inside, with its own slope. `sample` draws noise and gaps for each step and coordinate
and hands them to the loss in the batch.

Source: the ensemble of Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017
(https://arxiv.org/abs/1703.04813), and its program.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from problems.base import Batch, Params, Problem, fold, measure_of, normal_like, require_not_negative, shapes_of

_NOISE, _GAPS = 0x4015E, 0x6A95  # purposes of seeds


class Changed(NamedTuple):
    """A batch of the problem inside, and the noise or the mask of each coordinate."""

    inner: Batch
    change: Params


def gradient_noise(problem: Problem, stddev: float) -> Problem:
    """Adds N(0, stddev²) to every coordinate of every gradient: `f(θ) + ⟨ν_t, θ − θ'⟩` where θ' is θ as a constant.

    The term is 0 and its slope is ν_t, which `sample` draws for each step. Curvature is that of `problem`. A negative
    `stddev` is a ValueError.
    """
    require_not_negative("stddev", stddev)

    def draw(like, num_steps, seed):
        return normal_like(like, [num_steps], fold(seed, _NOISE), stddev)

    def loss(params, constants, batch):
        slope = [tf.reduce_sum(batch.change[key] * (value - tf.stop_gradient(value))) for key, value in params.items()]
        return problem.loss(params, constants, batch.inner) + tf.add_n(slope)

    return _changed(problem, draw, loss)


def sparse_gradient(problem: Problem, probability: float = 0.99) -> Problem:
    """Sets every coordinate of every gradient to 0 with `probability`, default 0.99 (original: SparseProblem).

    Gaps are independent for each coordinate and step. The derivative of such a gradient, which only second derivatives
    need, is that of the gradient with the same gaps. A probability that is not in [0, 1] is a ValueError.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"Received probability={probability}, expected a number from 0 to 1.")

    def draw(like, num_steps, seed):
        uniform = {
            key: tf.random.stateless_uniform([num_steps, *value.shape], fold(seed, _GAPS, k))
            for k, (key, value) in enumerate(like.items())
        }
        return {key: tf.cast(value >= probability, like[key].dtype) for key, value in uniform.items()}

    def loss(params, constants, batch):
        @tf.custom_gradient
        def masked(*values):
            with tf.GradientTape() as tape:
                tape.watch(values)
                value = problem.loss(dict(zip(params, values, strict=True)), constants, batch.inner)
            grads = tape.gradient(value, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)

            def slope(upstream):  # nothing but what is there already: new captures have no place in a loop's gradient
                return [upstream * batch.change[key] * grad for key, grad in zip(params, grads, strict=True)]

            return value, slope

        return masked(*params.values())

    return _changed(problem, draw, loss)


def _changed(problem: Problem, draw: Callable, loss: Callable) -> Problem:
    """The problem with another loss, whose batch has what `draw(shapes of the parameters, num_steps, seed)` makes."""
    like, measured = shapes_of(problem), measure_of(problem)

    def sample(seed, num_steps):
        return Changed(problem.sample(seed, num_steps), draw(like, num_steps, seed))

    def measure(params, constants, part=None):
        return measured(params, constants, None if part is None else part.inner)

    return problem._replace(sample=sample, loss=loss, measure=measure)
