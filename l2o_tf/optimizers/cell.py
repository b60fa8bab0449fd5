"""What the cells of L2O-DM, RNNprop and L2O-Scale have in common."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras


class Weight(NamedTuple):
    """A weight before it is made: its shape, and `seed -> initializer`."""

    shape: tuple[int, ...]
    initializer: Callable[[int | None], keras.initializers.Initializer]


def constant(shape: tuple[int, ...], value: float = 0.0) -> Weight:
    """A weight that begins with this value everywhere."""
    return Weight(shape, lambda seed: keras.initializers.Constant(value))


class Cell(keras.layers.Layer):
    """A Keras RNN cell that keeps the arguments of its constructor under their names.

    `named_weights` are its weights by name, once it is built.
    """

    def keep(self, arguments: Mapping[str, Any]) -> None:
        """Keeps what the constructor was called with, its `locals()`."""
        kept = {name: arguments[name] for name in arguments if name not in ("self", "kwargs", "__class__")}
        for name, value in kept.items():
            setattr(self, name, tuple(value) if isinstance(value, list | tuple) else value)
        self._kept = tuple(kept)
        self.output_size = 1
        self.named_weights = {}

    def table(self) -> dict[str, Weight]:
        """Every weight by name, in a fixed order."""
        raise NotImplementedError

    def build(self, input_shape):
        """Makes the weights; with a seed, each has one of its own."""
        for index, (name, weight) in enumerate(self.table().items()):
            initializer = weight.initializer(None if self.seed is None else 1000 * self.seed + index)
            self.named_weights[name] = self.add_weight(
                name=name.replace("/", "_"), shape=weight.shape, initializer=initializer
            )
        self.built = True

    def get_config(self):
        return {**super().get_config(), **{name: getattr(self, name) for name in self._kept}}
