"""Lets Keras find `LearnedOptimizer` after `import l2o_tf`, which does not import Keras.

Keras loads classes of other packages, and takes names of optimizers, only if they are registered. So stand-ins are
registered as soon as Keras is imported, by whomever: one for the class in saved models, one for each shipped name in
`model.compile(optimizer="RNNprop-CL-IL")`. Their `from_config` imports the class itself.
"""

import importlib.abc
import importlib.machinery
import pkgutil
import sys
from typing import Any

from l2o_tf.common.names import pretrained_names

NAME = "l2o_tf>LearnedOptimizer"


class StandIn:
    """Takes a registered name. The class itself takes its own name over when it is imported."""

    def __init__(self, *source: str):
        self._source = source

    def from_config(self, config: dict[str, Any]) -> Any:
        """The optimizer of this configuration, or of the shipped name with these options."""
        cls = pkgutil.resolve_name("l2o_tf.keras_optimizer.optimizer:LearnedOptimizer")
        return cls.from_config({**config, "source": self._source[0]} if self._source else config)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers the stand-ins once Keras has been run; TensorFlow, for one, looks for it without running it."""

    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == "keras" else None
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                _register(module)

            spec.loader.exec_module = exec_module
        return spec


def _register(keras) -> None:
    known = keras.saving.get_custom_objects()
    known.setdefault(NAME, StandIn())
    for name in pretrained_names():
        known.setdefault(name, StandIn(name))


def register() -> None:
    """Registers the stand-ins, now or as soon as Keras is imported."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    else:
        sys.meta_path.insert(0, _AfterKeras())
