"""Keras as this package needs it: on TensorFlow; in the scripts, with numbers of float32.

Keras takes its backend and its default type of numbers from the environment and from `keras.json`, once, when it is
imported.
"""

import contextlib
import os
from collections.abc import Iterator

from l2o_tf.quoting import reason


def _where() -> str:
    return f"KERAS_BACKEND or {os.path.join(os.environ.get('KERAS_HOME', '~/.keras'), 'keras.json')}"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """For an import of Keras, or of what imports it: turns what its configuration raises into a sentence.

    Raises:
        ValueError: if Keras cannot be imported as it is configured.
    """
    try:
        yield
    except (ImportError, ValueError, AssertionError) as error:
        raise ValueError(
            f"Received a configuration with which Keras cannot be imported ({reason(error)}), expected the backend "
            f"'tensorflow' and the floatx 'float32'. Set them in {_where()}."
        ) from error


def check() -> None:
    """Imports Keras.

    Raises:
        ValueError: if it cannot be imported as it is configured, or computes with something else than TensorFlow.
    """
    with explained():
        import keras
    found = keras.config.backend()
    if found != "tensorflow":
        raise ValueError(f"Received the Keras backend {found!r}, expected 'tensorflow'. Set it in {_where()}.")


def use_float32() -> None:
    """`check`, and makes float32 the type of numbers, whatever `keras.json` says: for a process of our own.

    Raises:
        ValueError: as `check`.
    """
    check()
    import keras

    keras.config.set_floatx("float32")
