"""Makes sure that Keras runs on TensorFlow.

When Keras is imported, it reads its backend and its default dtype from the environment and from `keras.json`.
"""

import contextlib
import os
from collections.abc import Iterator

from l2o_tf.common.quoting import reason

_WHERE = f"KERAS_BACKEND or {os.path.join(os.environ.get('KERAS_HOME', '~/.keras'), 'keras.json')}"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns an error of `import keras` that comes of Keras's configuration into a ValueError. Put the import inside."""
    try:
        yield
    except (ImportError, ValueError, AssertionError) as error:
        raise ValueError(
            f"Received a configuration with which Keras cannot be imported ({reason(error)}), expected the backend "
            f"'tensorflow' and the floatx 'float32'. Set them in {_WHERE}."
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
        raise ValueError(f"Received the Keras backend {found!r}, expected 'tensorflow'. Set it in {_WHERE}.")
