"""Describes an error of the user's own code in one short line: what it raised, and where.

Libraries wrap such an error: they add words to its message and frames to its traceback. Keras writes "Exception
encountered when calling ..." before it, AutoGraph "in user code:". Both keep the original error, which is found here.
"""

import os
import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

_PACKAGES = Path(__file__).resolve().parents[2]
_FOLDERS = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), _PACKAGES / "problems", _PACKAGES / "l2o_tf")
_LIBRARIES = tuple(f"{folder}{os.sep}" for folder in _FOLDERS)
_NO_FILE = ("<frozen ", "__autograph_generated_file")


def describe(error: BaseException) -> str:
    """`"KeyError: 'w' (my_problem.py, line 12)"`, with the innermost line that is in no library, if there is one."""
    error = _cause(error)
    graph = getattr(error, "ag_error_metadata", None)  # AutoGraph's: the message, and frames in the user's file
    message = graph.cause_message if graph else str(getattr(error, "message", None) or error)
    message = re.sub(r".*\x1b\[1m(.*)\x1b\[0m.*", r"\1", message, flags=re.DOTALL)  # Keras's, within AutoGraph's
    message = re.sub(r" for input .*?\. Expected shape", "; expected shape", message, flags=re.DOTALL)  # not the tensor
    lines = [re.sub(r"\{\{.*?\}\} *| \[Op:.*", "", line).strip() for line in message.splitlines()]  # TensorFlow's nodes
    reason = next((line for line in lines if line), "no message")[:200]
    name, colon, rest = reason.partition(": ")
    kind = type(error).__name__
    if graph and colon and name.isidentifier():  # "KeyError: 'w'"
        kind, reason = name, rest
    places = [(file, line) for file, line in _places(error) if not file.startswith(_LIBRARIES)]
    where = f" ({_short(places[-1][0])}, line {places[-1][1]})" if places else ""
    return f"{kind}: {reason}{where}"


def _cause(error: BaseException) -> BaseException:
    """The error before Keras has said where it met it."""
    while error.__context__ is not None and (
        getattr(error, "_keras_call_info_injected", False) or str(error).startswith("Error when deserializing class")
    ):
        error = error.__context__
    return error


def _places(error: BaseException) -> Iterator[tuple[str, int]]:
    """`(file, line)` of every frame, the innermost last."""
    graph = getattr(error, "ag_error_metadata", None)
    inner = reversed(graph.translated_stack) if graph else ()
    for frame in (*traceback.extract_tb(error.__traceback__), *inner):
        if not any(part in frame.filename for part in _NO_FILE):
            yield frame.filename, frame.lineno


def _short(file: str) -> str:
    """The path relative to the present folder, for a file in it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
