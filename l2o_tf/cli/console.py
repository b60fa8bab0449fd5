"""What the scripts have in common on a terminal: flags in, one clear line for an error, exit codes, a quiet start.

Exit codes:

- 0: done; also after `--help`.
- 2: the user's error: a flag, a name, a file, a full disk, what TensorFlow cannot run. One message on stderr;
  `--verbosity=1` adds where in the program it arose.
- 128 + n: ended by signal n: 130 after Ctrl-C.

Nothing here imports TensorFlow before it is needed, so that `--help` and a mistyped flag answer at once.
"""

import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from absl import app, flags, logging

from l2o_tf.common import keras_backend, xla_cache, xla_flags
from problems.common import closed_pipe, startup

if TYPE_CHECKING:
    from l2o_tf.common.workers import Workers

_WHERE = ("Graph execution error", "Detected at node", "File ", "[[", "<stack traces", "Stack trace")
_WHERE += ("tf2xla conversion",)
_ADVICE = """. XLA cannot compile an operation of the model: let the function return `from_keras(..., xla=False)`, see \
docs/adding-a-problem.md."""


def run(
    define_flags: Callable[[flags.FlagValues], None],
    action: Callable[[flags.FlagValues], int],
    headings: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Entry point of a script: parses the flags of the command line, does the action, ends the process.

    The action returns the exit code; its `ValueError` or `OSError` counts as the user's error. `headings` are
    flag -> the heading that `--help` shows before it.
    """
    closed_pipe.install()
    define_flags(flags.FLAGS)
    app.run(
        lambda rest: guarded(lambda: without_cache_if_it_fails(lambda: action(flags.FLAGS)), rest),
        flags_parser=lambda argv: parse(argv, flags.FLAGS, action.__module__, headings),
    )


def parse(
    argv: list[str], values: flags.FlagValues, module: str, headings: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Parses flags, and returns what is none; what is wrong with them is an exit with code 2, `--help` one with code 0.

    `--help` shows the docstring and the flags of `module`; its `MOVED`, if it has that, says what to use for old flags,
    and its `POSITIONAL` names the flag whose values may be given without it.
    """
    if {"-h", "-help", "--h", "--help"} & set(argv[1:]):
        print(f"{(sys.modules[module].__doc__ or '').strip()}\n")
        print(options(values.get_flags_for_module(sys.argv[0] if module == "__main__" else module), headings))
        sys.exit(0)
    try:
        rest = values([with_recipe(argument) for argument in argv])
        if positional := getattr(sys.modules[module], "POSITIONAL", None):
            values[positional].value, rest = values[positional].value + rest[1:], rest[:1]
    except (flags.Error, ValueError) as error:  # the latter for --noflag=value
        moved = getattr(sys.modules[module], "MOVED", {}).get(getattr(error, "flagname", "").removeprefix("no"))
        _say(f"{error}. See --help." if moved is None else f"{error}, which is of an earlier version. Use {moved}.")
        sys.exit(2)
    if "verbosity" in values and values["verbosity"].using_default_value:
        values.verbosity = logging.WARNING  # absl's choice would be INFO, where libraries tell everything
    return rest


def with_recipe(argument: str) -> str:
    """`recipes/NAME.flags`, alone or after `--flagfile=`; the package's, if the present folder has no such file."""
    flag, name = re.fullmatch(r"(--?flagfile=)?(.*)", argument, re.DOTALL).groups("")
    if not re.fullmatch(r"recipes/\w+\.flags", name) or os.path.exists(name):
        return argument
    package = Path(__file__).parents[1]
    shipped = [folder / name for folder in (package, package.parent) if (folder / name).is_file()]  # installed, a clone
    return flag + str(shipped[0]) if shipped else argument


def options(found: Iterable[flags.Flag], headings: Mapping[str, str], width: int | None = None) -> str:
    """The flags in the order of their definition, with their defaults, under their headings; `width` in characters."""
    width = width or min(shutil.get_terminal_size().columns, 120)
    gap = " " * 34
    lines = [] if headings else ["Options and their defaults"]
    for flag in found:
        if flag.name in headings:
            lines += ["", headings[flag.name]]
        left = f"  --[no]{flag.name}" if flag.boolean else f"  {flag.serialize() or f'--{flag.name}='}"
        text = f"{flag.help} Default: on." if flag.boolean and flag.default else flag.help
        told = textwrap.wrap(text, width, initial_indent=gap, subsequent_indent=gap)
        beside = len(left) < len(gap) - 1
        lines += [left.ljust(len(gap)) + told[0].lstrip(), *told[1:]] if beside else [left, *told]
    return "\n".join(lines).strip()


def define_workers(values: flags.FlagValues) -> None:
    """The flags of a job of several processes."""
    text = "Addresses host:port of all processes of this job, the same list everywhere. Default: those of TF_CONFIG."
    flags.DEFINE_list("workers", [], text, flag_values=values)
    text = "Which of --workers this process is, from 0. Number 0 writes the files."
    flags.DEFINE_integer("worker_index", None, text, flag_values=values)


def connected(values: flags.FlagValues) -> "Workers":
    """The workers that the flags or `TF_CONFIG` name, once all are there. Call it before TensorFlow does anything."""
    if bool(values.workers) != (values.worker_index is not None):
        raise ValueError(
            f"Received --workers={','.join(values.workers)} and --worker_index={values.worker_index}, expected both "
            "or none of them."
        )
    import_tensorflow()
    from l2o_tf.common import cluster

    return cluster.connect(values.workers or None, values.worker_index or 0)


def guarded(action: Callable[[], int | None], rest: list[str]) -> int | None:
    """Does the action; returns its exit code (None: all is well), or that of the user's error."""
    try:
        if len(rest) > 1:
            raise ValueError(f"Received {' '.join(rest[1:])!r}, which is no flag. Flags begin with --, see --help.")
        return action()
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    except _tensorflow_errors() as error:
        advice = _ADVICE if "unsupported operations" in error.message else ""
        return _refuse(f"TensorFlow: {_reason(error)} (--verbosity=1 says where){advice}")
    except KeyboardInterrupt:
        _say("interrupted")
        return 130


def without_cache_if_it_fails(action: Callable[[], int]) -> int:
    """Does the action; if XLA's cache fails, as on a full disk, the process starts again without it."""
    try:
        return action()
    except _tensorflow_errors() as error:
        folder = xla_cache.folder_of()
        if not folder or folder not in error.message:
            raise
        reason = _reason(error).rpartition("; ")[2]
        _say(f"XLA's cache in {folder} cannot be used ({reason}); starting again without it.")
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, xla_cache.without())


def import_tensorflow() -> None:
    """Imports TensorFlow without its start-up lines, with XLA's cache and wide vectors, and Keras in float32."""
    if "tensorflow" not in sys.modules:
        xla_flags.prefer_wide_vectors()
        xla_cache.enable()
    with keras_backend.explained():
        startup.import_tensorflow()
    keras_backend.check()
    import keras

    keras.config.set_floatx("float32")


def _tensorflow_errors() -> tuple[type[Exception], ...]:
    """What TensorFlow raises while it runs, if it was imported: for want of memory or disk, for lack of a kernel."""
    tensorflow = sys.modules.get("tensorflow")
    return (tensorflow.errors.OpError,) if tensorflow else ()


def _reason(error: Exception) -> str:
    """What TensorFlow complains of, without where it noticed it."""
    lines = [" ".join(line.split()) for line in error.message.splitlines()]
    said = [line for line in lines if line and not line.startswith(_WHERE)]
    return (said or [repr(error)])[0][:300]


def _refuse(message: str) -> int:
    """Tells the user; returns the exit code. To be called while an error is handled."""
    if logging.level_debug():
        traceback.print_exc()
    _say(message)
    return 2


def _say(message: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
