"""Problems of the user's own, by `path/to/file.py:function`: what `--problem` takes besides a name.

The function needs no argument and returns a `Problem`, or `(model, loss, dataset)` for `from_keras`. Where it has the
parameters `mode` (`"train"` for meta-training, `"test"` for evaluation) or `data_options` (the flags `--data`,
`--data_dir` and `--split`), it gets them, like the factories that are registered.
"""

import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from problems.base import Problem
from problems.common import python_files
from problems.common.user_errors import describe
from problems.contract import kind_of
from problems.data.datasets import MODES, SPLITS, DataOptions
from problems.keras.model import from_keras

_WHAT = "path/to/file.py:function"
_FOR_ALL = ("mode", "data_options")


def factory(name: str) -> Callable[..., Problem]:
    """The function that makes the problem called `path/to/file.py:function`; the problem gets this name.

    Raises:
        ValueError: if there is no such file or function, the file cannot be run, or the function needs arguments; and,
            from the function that is returned, if the user's own raises an error or returns something else.
    """
    found = module(name, what=f"problem {name!r}", expected=_WHAT)
    function_name = name.partition(".py:")[2]
    function = getattr(found, function_name, None)
    if not inspect.isfunction(function):
        functions = inspect.getmembers(found, inspect.isfunction)
        own = [key for key, value in functions if value.__module__ == found.__name__ and not key.startswith("_")]
        raise ValueError(f"Received problem {name!r}, expected {_WHAT} with one of the functions {own}.")
    parameters = inspect.signature(function).parameters.values()
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in optional]
    if set(needed) - set(_FOR_ALL):
        raise ValueError(f"Received problem {name!r}, whose function needs {needed}; give its arguments defaults.")

    @functools.wraps(function)
    def make(mode="train", data_options=None, **options):
        return _problem(name, function, mode, data_options or DataOptions(), options)

    own = [each for each in parameters if each.name not in _FOR_ALL and each.kind not in optional]
    for_all = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None) for key in _FOR_ALL]
    make.__signature__ = inspect.Signature([*(p.replace(kind=p.KEYWORD_ONLY) for p in own), *for_all])
    return make


def _problem(name: str, function: Callable, mode: str, asked: DataOptions, options: dict[str, Any]) -> Problem:
    """What the user's function makes; the name of a TFDS data set stands for the part of it that is asked for."""
    accepted = inspect.signature(function).parameters
    for_all = {key: value for key, value in zip(_FOR_ALL, (mode, asked), strict=True) if key in accepted}
    try:
        made = function(**options, **for_all)
    except Exception as error:  # the user's code
        raise ValueError(f"Received problem {name!r}, whose function raised {describe(error)}.") from error
    if not isinstance(made, Problem) and not (isinstance(made, tuple) and len(made) == 3):
        raise ValueError(
            f"Received problem {name!r}, whose function returns {kind_of(made)}, expected a Problem or "
            "(model, loss, dataset)."
        )
    by_name = isinstance(made, tuple) and isinstance(made[2], str)
    splits = SPLITS if "data_options" in accepted else ("original", *(MODES if by_name else ()))
    if asked.split not in splits:
        raise ValueError(
            f"Received --split={asked.split} for problem {name!r}, which decides itself what data it has: its function "
            "has no parameter `data_options`. Drop --split, or give it the parameter."
        )
    if isinstance(made, Problem):
        return made._replace(name=name)
    source = {"split": asked.part(mode), "data_dir": asked.data_dir} if by_name else {}
    problem = from_keras(*made, name=function.__name__, **source)._replace(name=name)
    if "mode" in accepted and not by_name:
        problem = problem._replace(data=problem.data._replace(split=asked.part(mode)))
    return problem


def module(name: str, *, what: str, expected: str) -> ModuleType:
    """The file of `path/to/file.py:something`, run as a module; a ValueError if there is none, or it cannot be run.

    Args:
        name: as the user typed it.
        what, expected: what errors say was received, and what should have been.
    """
    file = python_files.path(name)
    if not name.partition(".py:")[2]:
        raise ValueError(f"Received {what}, which names nothing in the file, expected {expected}.")
    if not file.is_file():
        raise ValueError(f"Received {what}, but there is no file {file}; expected {expected}.")
    return _module(file)


@functools.cache
def _module(file: Path) -> ModuleType:
    """Runs a file as a module, once. Files beside it can be imported, unless it is a copy that was kept."""
    name, source = python_files.module_name(file), file.read_bytes()
    beside = [] if python_files.is_copy(file, source) else [str(file.parent)]
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where Keras looks for the classes of a model
    module.__source__ = source
    sys.path.extend(beside)
    try:
        exec(compile(source, file, "exec", dont_inherit=True), vars(module))  # not what `__pycache__` has of it
    except Exception as error:  # the user's code
        del sys.modules[name]
        raise ValueError(f"Received {file}, which raised {describe(error)}.") from error
    return module
