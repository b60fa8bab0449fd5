"""K optimizees as one: every tensor with a leading axis of K, and K losses.

An optimizer that treats coordinates one by one, analytic or learned, then takes a step of all K at once. Each optimizee
has its own start, its own minibatches and its own loss, as if it were alone.
"""

from collections.abc import Callable

import tensorflow as tf

from problems.base import Problem, Seed, fold, measure_of, no_batches, require_positive


def split(seed: Seed, count: int) -> Seed:
    """`[K, 2]`: a seed for each of K optimizees."""
    return tf.stack([fold(seed, k) for k in range(count)])


def fold_each(seeds: Seed, *values) -> Seed:
    """`fold` for each of K seeds `[K, 2]`."""
    return tf.stack([fold(seed, *values) for seed in tf.unstack(seeds)])


def side_by_side(problem: Problem, count: int) -> Problem:
    """K = `count` times `problem`, each with a seed of its own; a `count` of less than 1 is a ValueError.

    Its functions are those of a `Problem`, except that they take and return K of everything: `init` and `sample` take
    seeds `[K, 2]`, constants have a leading axis of K like the parameters, batches have it behind that of the steps,
    and `loss` and what `measure` returns are `[K]`; all K are measured on the same part of the data.
    """
    require_positive("count", count)

    def init(seeds):
        return _stack([problem.init(seed) for seed in tf.unstack(seeds, count)], axis=0)

    def sample(seeds, num_steps):
        return _stack([problem.sample(seed, num_steps) for seed in tf.unstack(seeds, count)], axis=1)

    measured = measure_of(problem) if problem.sample is no_batches else problem.measure

    def measure(params, constants, part=None):
        return each(lambda *one: measured(*one, part))(params, constants)

    return problem._replace(
        init=init,
        sample=sample,
        loss=problem.loss if getattr(problem.loss, "for_many", False) else each(problem.loss),
        measure=measured and measure,
    )


def each(function: Callable) -> Callable:
    """Applies `function` to each of K arguments. Tensors of arguments and results have a leading axis of K.

    The K calls are written out. With the gradient of a `tf.vectorized_map`, XLA would take the arguments for constants
    and compile anew for every minibatch.
    """

    def mapped(*arguments):
        count = tf.nest.flatten(arguments)[0].shape[0]
        parts = [tf.nest.map_structure(lambda x, k=k: x[k], arguments) for k in range(count)]
        return _stack([function(*part) for part in parts], axis=0)

    return mapped


def _stack(structures: list, axis: int):
    """Stacks the tensors; None, an accuracy that there is not, stays None."""
    return tf.nest.map_structure(lambda *each: None if each[0] is None else tf.stack(each, axis=axis), *structures)
