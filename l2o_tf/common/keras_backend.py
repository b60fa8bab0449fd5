"""Makes sure that Keras runs on TensorFlow, and in the scripts computes in float32.

When Keras is imported, it reads its backend and its default dtype from the environment and from `keras.json`.
"""

import contextlib
import os
from collections.abc import Iterator

from l2o_tf.common.quoting import reason


def _where() -> str:
    return f"KERAS_BACKEND or {os.path.join(os.environ.get('KERAS_HOME', '~/.keras'), 'keras.json')}"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Explains an error of `import keras` that comes of Keras's configuration. Put the import inside.

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
    """Imports Keras and checks its backend.

    Raises:
        ValueError: if Keras cannot be imported as it is configured, or its backend is not TensorFlow.
    """
    with explained():
        import keras
    found = keras.config.backend()
    if found != "tensorflow":
        raise ValueError(f"Received the Keras backend {found!r}, expected 'tensorflow'. Set it in {_where()}.")


def use_float32() -> None:
    """Calls `check`, and makes float32 the default dtype, whatever `keras.json` says. Only scripts call it.

    Raises:
        ValueError: as `check`.
    """
    check()
    import keras

    keras.config.set_floatx("float32")
