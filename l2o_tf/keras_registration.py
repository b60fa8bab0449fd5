"""Lets Keras load saved models with a `LearnedOptimizer` after `import l2o_tf`, which does not import Keras.

Keras finds classes of other packages only if they are registered. So a stand-in is registered as soon as Keras is
imported, by whomever. Its `from_config` imports the class itself.
"""

import importlib.abc
import importlib.util
import pkgutil
import sys
from typing import Any

NAME = "l2o_tf>LearnedOptimizer"


class StandIn:
    """Takes the registered name until the class itself is imported."""

    @staticmethod
    def from_config(config: dict[str, Any]) -> Any:
        return pkgutil.resolve_name("l2o_tf.keras_optimizer:LearnedOptimizer").from_config(config)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Waits for the import of Keras, which it leaves to the other finders; then registers the stand-in."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                _register(module)

            spec.loader.exec_module = exec_module
        return spec


def _register(keras) -> None:
    keras.saving.get_custom_objects().setdefault(NAME, StandIn)


def register() -> None:
    """Registers the stand-in, now or as soon as Keras is imported."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    else:
        sys.meta_path.insert(0, _AfterKeras())
