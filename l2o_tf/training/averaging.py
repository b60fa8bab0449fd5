"""The running average of meta-parameters: steadier than the meta-parameters themselves.

A meta-optimizer with a constant learning rate never settles: its iterates move about a valley whose floor their average
is near (Polyak and Juditsky, 1992, *Acceleration of stochastic approximation by averaging*).
"""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


class RunningAverage:
    """The average φ̄ of variables φ over about the last `1 / (1 - β)` updates of them. After the n-th update::

        w = max(1 - β, 1 / n)
        φ̄' = (1 - w) φ̄ + w φ

    At first it is the plain mean, so that where φ began is forgotten at once; then an exponential one.

    Args:
        variables: φ.
        momentum: β, from 0 (φ̄ is φ) to below 1. 0.99 averages about 100 updates; Keras's `ema_momentum`.
    """

    def __init__(self, variables: list[keras.Variable], momentum: float):
        self._variables = variables
        self._momentum = momentum
        self._averages = [tf.Variable(variable.value, trainable=False) for variable in variables]
        self._count = tf.Variable(0.0, trainable=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """What a checkpoint must hold."""
        return [*self._averages, self._count]

    def update(self) -> None:
        """Takes φ in, once it has been updated."""
        self._count.assign_add(1.0)
        w = tf.maximum(1.0 - self._momentum, 1.0 / self._count)
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign((1.0 - w) * average + w * variable.value)

    def restart(self) -> None:
        """Forgets; φ̄ is φ until the next update."""
        self._count.assign(0.0)
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign(variable.value)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, φ has the values of φ̄; after it, its own again."""
        own = [variable.numpy() for variable in self._variables]
        try:
            for average, variable in zip(self._averages, self._variables, strict=True):
                variable.assign(average)
            yield
        finally:
            for value, variable in zip(own, self._variables, strict=True):
                variable.assign(value)
