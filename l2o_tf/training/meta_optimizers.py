"""How φ moves: the optimizers of the original programs, schedules of the meta-learning rate, the running average.

A schedule is any function `(epoch, stage) -> factor`. `epoch` counts meta-epochs from 0, `stage` the stages of the
curriculum from 0. Before every meta-epoch the rate of the meta-optimizer is multiplied by the factor.

A meta-optimizer with a constant rate never settles: its iterates move about a valley whose floor their average is near
(Polyak and Juditsky, 1992, *Acceleration of stochastic approximation by averaging*).
"""

import contextlib
import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import tensorflow as tf

from problems.base import require_positive

Schedule = Callable[[int, int], float]
"""`(epoch, stage) -> factor`."""


@keras.saving.register_keras_serializable("l2o_tf")
class RMSprop1(keras.optimizers.Optimizer):
    """RMSProp as TensorFlow 1 had it, with which L2O-Scale's original program trains::

        s' = ρ s + (1 - ρ) g²,          s_0 = 1
        φ' = φ - α g / √(s' + ε)

    Keras's own starts at `s_0 = 0` and adds ε outside the root, so that its first updates are as large as any; here
    they are as small as the gradient, like those of SGD.

    Args:
        learning_rate: α. Default 1e-6, as in that program.
        rho: ρ, decay of the running mean. Default 0.9.
        epsilon: ε. Default 1e-20, as in that program.
        **kwargs: of `keras.optimizers.Optimizer`, e.g. `clipvalue`.

    Example:
        >>> import keras
        >>> import l2o_tf as l2o
        >>> variable = keras.Variable(1.0)
        >>> l2o.RMSprop1(0.5).apply([0.0], [variable])
        >>> float(variable.value)
        1.0
    """

    def __init__(self, learning_rate=1e-6, rho: float = 0.9, epsilon: float = 1e-20, name="rmsprop1", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.rho = rho
        self.epsilon = epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._mean_squares = self.add_optimizer_variables(variables, "mean_square", initializer="ones")

    def update_step(self, gradient, variable, learning_rate):
        mean_square = self._mean_squares[self._get_variable_index(variable)]
        value = self.rho * mean_square + (1.0 - self.rho) * tf.square(gradient)
        self.assign(mean_square, value)
        self.assign_sub(variable, learning_rate * gradient / tf.sqrt(value + self.epsilon))

    def get_config(self):
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}


META_OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adam": functools.partial(keras.optimizers.Adam, epsilon=1e-8),
    "rmsprop": RMSprop1,
}
"""Name -> `(learning_rate, **clipping) -> optimizer`. Epsilon is TensorFlow 1's; Keras's own default is 1e-7."""


@dataclasses.dataclass(frozen=True)
class StageDecay:
    """A schedule: a smaller rate in every later stage of the curriculum, `factor^stage`.

    Args:
        factor: above 0, at most 1.

    Raises:
        ValueError: if it is not.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.StageDecay(0.5)(epoch=700, stage=2)
        0.25
    """

    factor: float

    def __post_init__(self):
        if not isinstance(self.factor, numbers.Real) or not 0 < self.factor <= 1:
            raise ValueError(f"Received factor={self.factor!r}, expected a number above 0, at most 1.")

    def __call__(self, epoch: int, stage: int) -> float:
        return self.factor**stage


@dataclasses.dataclass(frozen=True)
class CosinePeriods:
    """A schedule: from 1 toward 0 within every period of P meta-epochs, `1/2 (1 + cos(π e/P))`, `e = epoch mod P`.

    With the period of the validation, each validation is one of settled weights (warm restarts: Loshchilov and Hutter,
    2017, *SGDR*).

    Args:
        period: P. Default 100, the period of `Validation`.

    Raises:
        ValueError: if it is no positive integer.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.CosinePeriods(period=4)(epoch=6, stage=0)
        0.5
    """

    period: int = 100

    def __post_init__(self):
        require_positive("period", self.period)

    def __call__(self, epoch: int, stage: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * (epoch % self.period / self.period)))


@dataclasses.dataclass(frozen=True)
class RunningAverage:
    """Asks a trainer to validate and keep the average φ̄ of the meta-parameters φ, and not φ itself.

    It is taken over about the last `1 / (1 - β)` updates. After the n-th update::

        w = max(1 - β, 1 / n)
        φ̄' = (1 - w) φ̄ + w φ

    At first it is the plain mean, so that where φ began is forgotten at once; then an exponential one.

    Args:
        momentum: β, from 0 (φ̄ is φ) to below 1. 0.99 averages about 100 updates; Keras's `ema_momentum`.

    Raises:
        ValueError: if it is out of range.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.RunningAverage(momentum=0.99)
        RunningAverage(momentum=0.99)
    """

    momentum: float

    def __post_init__(self):
        if not isinstance(self.momentum, numbers.Real) or not 0 <= self.momentum < 1:
            raise ValueError(f"Received momentum={self.momentum!r}, expected a number from 0 to below 1.")


class AveragedVariables:
    """Variables φ and their running average φ̄, see `RunningAverage`; at first φ̄ is φ."""

    def __init__(self, variables: Sequence[keras.Variable], momentum: float):
        self._variables = list(variables)
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
        assign_all(self._averages, [variable.value for variable in self._variables])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, φ has the values of φ̄; after it, its own again."""
        own = [variable.numpy() for variable in self._variables]
        try:
            assign_all(self._variables, self._averages)
            yield
        finally:
            assign_all(self._variables, own)


def assign_all(variables: Iterable, values: Iterable) -> None:
    """Assigns a value to each variable."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
