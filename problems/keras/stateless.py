"""A Keras model as a pure function of its weights, its other state and its inputs, in a `keras.StatelessScope`."""

import inspect
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from problems.base import Constants, Params


class Stateless(NamedTuple):
    """A Keras model as a pure function.

    Attributes:
        model: a built model.
        trainable: its parameters by name, in the model's order.
        frozen: its other weights by name.
        num_seeds: K, how many `SeedGenerator`s it has.
    """

    model: keras.Model
    trainable: dict[str, keras.Variable]
    frozen: dict[str, keras.Variable]
    num_seeds: int

    @property
    def convolves(self) -> bool:
        """Whether any of its layers is a convolution."""
        layers = self.model._flatten_layers()
        return any("Conv" in kind.__name__ for layer in layers for kind in type(layer).__mro__)

    def call(
        self, params: Params, frozen: Constants, seeds: tf.Tensor, inputs: Any, *, training: bool
    ) -> tuple[Any, Params, list[tf.Tensor]]:
        """Calls the model with seeds int32 `[K, 2]`, the states of its seed generators.

        Returns:
            `(outputs, the other weights after the call, regularisation losses)`.

        Raises:
            ValueError: if the model draws random numbers from a generator that is not its own.
        """
        names, drawn = {id(variable): name for name, variable in self.frozen.items()}, iter(range(self.num_seeds))
        variables = self.model.non_trainable_variables
        state = [
            frozen[names[id(variable)]] if id(variable) in names else tf.cast(seeds[next(drawn)], variable.dtype)
            for variable in variables
        ]
        weights = [1.0 * params[name] for name in self.trainable]  # the factor makes the gradient of a lookup dense
        takes_training = "training" in inspect.signature(self.model.call).parameters
        options = {"training": training} if takes_training else {}
        own = [*zip(self.model.trainable_variables, weights, strict=True), *zip(variables, state, strict=True)]
        # `Model.stateless_call` would leave out what `__call__` does around `call`: autocast, penalties of activities
        with keras.StatelessScope(own, collect_losses=True) as scope:
            outputs = self.model(inputs, **options)
            penalties = [tf.reduce_sum(tf.cast(penalty, tf.float32)) for penalty in self.model.losses]
        known = {id(variable) for variable in [*self.model.variables, *self.model.metrics_variables]}
        if set(scope.state_mapping) - known:
            raise ValueError(
                "it draws random numbers from a generator that is none of its own; give the layer a "
                "`keras.random.SeedGenerator` as an attribute, and `keras.random` that as its seed"
            )
        after = {names[id(v)]: scope.get_current_value(v) for v in variables if id(v) in names}
        return outputs, after, penalties

    def moving(self) -> dict[str, float]:
        """The moving statistics of batch normalisation: name -> momentum. Frozen layers move nothing."""
        names = {id(variable): name for name, variable in self.frozen.items()}
        found = {}
        for layer in self.model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and layer.momentum < 1:
                found |= {names[id(each)]: layer.momentum for each in (layer.moving_mean, layer.moving_variance)}
        return found


def stateless(model: Any) -> Stateless:
    """Takes a model apart; a ValueError if it is no built model, or two of its weights have the same name."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"Received a {type(model).__name__} as model, expected a keras.Model.")
    if not model.built:
        raise ValueError(
            f"Received model {model.name!r}, which was never built and has no weights yet, expected a built one; give "
            "it a `keras.Input`, or call a model of your own class on an example first."
        )
    weights = {id(variable) for variable in model.weights}
    trainable = _named(model.trainable_variables, model)
    frozen = _named([variable for variable in model.non_trainable_variables if id(variable) in weights], model)
    num_seeds = len(model.non_trainable_variables) - len(frozen)
    return Stateless(model, trainable, frozen, num_seeds)


def values(variables: dict[str, keras.Variable]) -> Params:
    """What variables hold now, as tensors of the process."""
    with tf.init_scope():
        return {name: tf.constant(variable.numpy()) for name, variable in variables.items()}


def _named(variables: Sequence[keras.Variable], model: keras.Model) -> dict[str, keras.Variable]:
    names = [variable.path.removeprefix(f"{model.name}/") for variable in variables]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Received model {model.name!r} with two weights {twice[0]!r}; give their layers other names.")
    return dict(zip(names, variables, strict=True))
