"""After `import l2o_tf`, which imports neither Keras nor TensorFlow, Keras finds `LearnedOptimizer` in saved models.

It looks up the classes of other packages by registered names only. So a stand-in is registered as soon as there is a
Keras, whose `from_config` imports what it needs.
"""

import importlib.abc
import importlib.util
import pkgutil
import sys
from typing import Any

NAME = "l2o_tf>LearnedOptimizer"


class StandIn:
    """What Keras finds under the registered name, until the class itself is imported."""

    @staticmethod
    def from_config(config: dict[str, Any]) -> Any:
        return pkgutil.resolve_name("l2o_tf.keras_optimizer:LearnedOptimizer").from_config(config)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Finds Keras, as everybody does, and registers the stand-in when it has been imported."""

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
