"""K optimizees of one meta-batch, or K runs of an evaluation: the one place that knows how they are taken.

* Side by side: `Optimizees(problem, K)`. Every tensor gets a leading axis of K, and a step is a step of all of them.
  It needs optimizers that treat coordinates one by one. A GPU wants it.
* In turn: `in_turn(function, K)`. A window is K calls, which the cores share. It is for any optimizer.

Of several processes, each takes a part of them. Seeds are those of all K, of which each process uses its own. So what
the processes compute together does not depend on how many they are.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from l2o_tf.common import devices
from l2o_tf.common.workers import Part, Share
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.optimizers.blocks import in_blocks_if_large
from problems.base import Problem, Seed, fold, make_seed, shapes_of
from problems.transforms.side_by_side import each, fold_each, side_by_side, split


class Optimizees:
    """K optimizees that take their steps together. A single one is as it is, without an axis of its own.

    Args:
        problem: of one of them.
        count: K; default 1. Or the `Part` of K optimizees that this process takes.
        *optimizers: what is to run on them.

    Attributes:
        problem: whose functions take what `seeds` returns, and give losses of `shape`.
        shape: of a loss: `()` of one, else `(K,)`, of which a part has its count.

    Raises:
        ValueError: if one of the optimizers cannot run several side by side.
    """

    def __init__(self, problem: Problem, count: int | Part = 1, *optimizers: Optimizer):
        self._part = count if isinstance(count, Part) else Part(count, 0, count)
        count = self._part.count
        unable = [optimizer.name for optimizer in optimizers if not optimizer.coordinatewise]
        if count > 1 and unable:
            raise ValueError(
                f"Received {count} optimizees side by side with {unable[0]}, which does not treat coordinates one by "
                "one. Let it take them one after the other."
            )
        self.problem, self.shape = (side_by_side(problem, count), (count,)) if count > 1 else (problem, ())

    def seeds(self, seed: Seed) -> tf.Tensor:
        """Seeds of the optimizees, derived from one of their group."""
        if self._part.total == 1:
            return seed
        seeds = self._part.of(split(seed, self._part.total))
        return seeds if self.shape else seeds[0]

    def fold(self, seeds: tf.Tensor, *values) -> tf.Tensor:
        """`problems.base.fold` of each seed."""
        return (fold_each if self.shape else fold)(seeds, *values)

    def apart(self, function: Callable) -> Callable:
        """The function of one optimizee as a function of all: tensors `[*shape, ...]` in and out."""
        return each(function) if self.shape else function

    def mean(self, function: Callable, *arguments: tf.Tensor) -> tf.Tensor:
        """The mean over the optimizees of the function of `[T, *shape]` or `shape` tensors: a scalar."""
        if not self.shape:
            return function(*arguments)
        leading = [tf.transpose(x) for x in arguments]  # `[T, K] -> [K, T]`
        return tf.reduce_mean(each(function)(*leading))

    def mean_losses(self, losses: tf.Tensor) -> tf.Tensor:
        """`[T, *shape] -> [T]`."""
        return tf.reduce_mean(losses, axis=1) if self.shape else losses

    def grouped(self, seeds: tf.Tensor) -> tf.Tensor:
        """Seeds of R runs `[R, 2]` as those of R/K groups, `[R/K, *shape, 2]`."""
        return tf.reshape(seeds, [-1, *self.shape, 2])

    def ungrouped(self, losses: tf.Tensor) -> tf.Tensor:
        """Losses of R/K groups, `[R/K, W, T+1, *shape]`, as those of R runs, `[R, W, T+1]`."""
        losses = tf.transpose(losses, [0, 3, 1, 2]) if self.shape else losses
        return tf.reshape(losses, tf.concat([[-1], tf.shape(losses)[-2:]], axis=0))

    def one_seed(self, seeds: tf.Tensor) -> Seed:
        """The seed of what an optimizer draws for all of them."""
        return tf.reshape(seeds, [-1, 2])[0]

    def in_blocks_if_large(self, optimizer: Optimizer) -> Optimizer:
        """`optimizers.blocks.in_blocks_if_large` for these optimizees."""
        return in_blocks_if_large(optimizer, shapes_of(self.problem, self.seeds(make_seed(0))))


def num_calls(count: int, *optimizers: Optimizer) -> int:
    """In how many calls a window takes K = `count` optimizees: `K / calls` of them side by side in each.

    In K where an optimizer cannot run several side by side; in one on a GPU, which they fill together; on a processor
    in as many as 16, which its cores share.
    """
    if not all(optimizer.coordinatewise for optimizer in optimizers):
        return count
    return 1 if devices.has_gpu() else max(calls for calls in range(1, 17) if count % calls == 0)


def divide(count: int, share: Share, *optimizers: Optimizer) -> tuple[Part, Part]:
    """`(calls, side by side)`: this process's part of the calls that K = `count` take, and of the K / calls in each.

    Processes divide the calls as far as that goes, and then those side by side. K is a multiple of their number.
    """
    calls = num_calls(count, *optimizers)
    groups = math.gcd(calls, share.count)
    group, member = divmod(share.index, share.count // groups)
    return Share(group, groups).part(calls), Share(member, share.count // groups).part(count // calls)


def in_turn(function: Callable[..., Any], calls: Part) -> Callable[..., Any]:
    """`(*stacked, seed) -> stacked`: these calls of `(*one, seed) -> one`, each with a seed of its own."""
    return lambda *arguments: each(function)(*arguments[:-1], calls.of(split(arguments[-1], calls.total)))
