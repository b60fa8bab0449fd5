"""TensorFlow without its start-up lines."""

import gc
import os
import sys
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
"""Name of the variable; 0 hides nothing, 3 everything but what ends the process."""


def import_tensorflow() -> None:
    """Imports TensorFlow without its start-up lines.

    Some of them are printed before `LEVEL` takes effect, so stderr is held back during the import, and shown if the
    import fails. A level of 0 in the environment hides nothing. The garbage collector is off meanwhile, which saves a
    fifth of the time.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.import_tensorflow()
    """
    if os.environ.setdefault(LEVEL, "3") == "0" or "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        gc.disable()
        try:
            import tensorflow  # noqa: F401

            gc.freeze()
        except Exception:  # not after Ctrl-C, which is no reason to read them
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            gc.enable()
            os.dup2(stderr, 2)
            os.close(stderr)
