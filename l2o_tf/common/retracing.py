"""Hides TensorFlow's warning of frequent retracing, which is wrong about this package.

TensorFlow counts by the line of the source. The functions of many problems and optimizers come from one line, and each
of them is traced once.
"""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Hides the warning; a context, and a decorator: `@retracing.hidden()`."""

    def is_about_something_else(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(is_about_something_else)
    try:
        yield
    finally:
        logger.removeFilter(is_about_something_else)
