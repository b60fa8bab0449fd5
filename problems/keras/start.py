"""Draws the weights with which a run begins by the initialisers of a Keras model's own layers.

A Keras layer draws its weights once, when it is built, and does not keep its initialisers. So each layer that owns
weights is made again from its configuration, in a `keras.StatelessScope`, where Keras makes no values. That leaves the
initialisers, which are called later. They all draw from one `SeedGenerator`, whose state is the seed of the run. The
values are those that Keras's own code draws, and a pure function of the seed.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import keras
import tensorflow as tf

from problems.base import Params, Seed, fold
from problems.common.user_errors import describe

Initializer = Callable[..., tf.Tensor]

_LAYERS = 0x1A7E5  # the purpose of the seed
_ADVICE = "Give `initial` a standard deviation, or 'model' to begin with the values that the model has."


def redraw(model: keras.Model, names: Mapping[str, keras.Variable]) -> Callable[[Seed], Params]:
    """`seed -> params`: what the layers' initialisers draw, in the order of `names`.

    Raises:
        ValueError: if a layer cannot be made again from its configuration, or an initialiser does not draw from the
            seed that it is given.
    """
    generator = keras.random.SeedGenerator(0)
    found: dict[int, Initializer] = dict(_initializers(model, generator))
    for name, variable in names.items():
        if id(variable) not in found:
            raise ValueError(f"Received weight {name!r}, which belongs to no layer. {_ADVICE}")

    def draw(name, seed):
        variable = names[name]
        state = tf.cast(seed, generator.state.dtype)
        with keras.StatelessScope([(generator.state, state)]) as scope:
            value = tf.convert_to_tensor(found[id(variable)](variable.shape, dtype=variable.dtype))
        return value, set(scope.state_mapping) <= {id(generator.state)}

    for name in names:
        (value, is_alone), (again, _) = (draw(name, fold([0, 0], 0)) for _ in range(2))
        if not is_alone or not bool(tf.reduce_all(value == again)):
            raise ValueError(
                f"Received weight {name!r}, whose initialiser {found[id(names[name])]} draws from a generator of its "
                f"own, expected one with an attribute `seed`, which it hands to `keras.random`. {_ADVICE}"
            )

    def start(seed):
        return {name: draw(name, fold(seed, _LAYERS, k))[0] for k, name in enumerate(names)}

    return start


def _initializers(
    layer: keras.layers.Layer, generator: keras.random.SeedGenerator
) -> Iterator[tuple[int, Initializer]]:
    """`(id of the weight, its initialiser)` for the weights of a layer and of the layers inside it."""
    children = layer._flatten_layers(include_self=False, recursive=False)
    inside = {id(weight) for child in children for weight in child.weights}
    own = [index for index, weight in enumerate(layer.weights) if id(weight) not in inside]
    if any(layer.weights[index].trainable for index in own):
        twin = _twin(layer, generator)
        for index in own:
            yield id(layer.weights[index]), twin[index]
    for child in children:
        yield from _initializers(child, generator)


def _twin(layer: keras.layers.Layer, generator: keras.random.SeedGenerator) -> list[Initializer]:
    """The initialisers of a layer's weights, all of which draw from `generator`."""
    shapes = [tuple(weight.shape) for weight in layer.weights]
    try:
        with keras.StatelessScope(), keras.utils.custom_object_scope(_objects(layer)):
            twin = type(layer).from_config(layer.get_config())
            for name, value in list(vars(twin).items()):  # an initialiser may be called by another one
                if isinstance(value, keras.Initializer):
                    vars(twin)[name] = _seeded(value, generator)
            if not twin.built:
                twin.build_from_config(layer.get_build_config())
            found = [weight._initializer for weight in twin.weights]
        if [tuple(weight.shape) for weight in twin.weights] != shapes:
            raise ValueError(f"its weights would be {[tuple(weight.shape) for weight in twin.weights]}, not {shapes}")
    except Exception as error:  # the configuration is the user's code
        raise ValueError(
            f"Received layer {layer.name!r} ({type(layer).__name__}), which cannot be made again from its "
            f"configuration: {describe(error)}. Give it a `get_config` that names all arguments of "
            f"its constructor. {_ADVICE}"
        ) from error
    return [_seeded(each, generator) if isinstance(each, keras.Initializer) else each for each in found]


def _seeded(initializer: keras.Initializer, generator: keras.random.SeedGenerator) -> keras.Initializer:
    """A copy that draws from `generator`, and so do the initialisers that it holds; it may be the user's own object."""
    initializer = copy.copy(initializer)
    for name, value in list(vars(initializer).items()):
        if isinstance(value, keras.Initializer):
            vars(initializer)[name] = _seeded(value, generator)
    if hasattr(initializer, "seed"):
        initializer.seed = generator
    return initializer


def _objects(layer: keras.layers.Layer) -> dict[str, Any]:
    """What a layer was given and a configuration only names: functions, and classes of objects such as initialisers."""
    given = [value for value in vars(layer).values() if callable(value)]
    kinds = {type(value).__name__: type(value) for value in given}
    return kinds | {value.__name__: value for value in given if isinstance(value, FunctionType | type)}
