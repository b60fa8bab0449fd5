"""Runs the scripts: in this process for what they answer, in one of their own for how they start and end."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from absl import flags

from l2o_tf.cli import console
from problems.common import startup

ROOT = Path(__file__).resolve().parents[1]


class Result(NamedTuple):
    code: int
    out: str
    err: str


def call(script, *arguments: str) -> Result:
    """Does what the command line does, after the interpreter has started."""
    values, out, err = flags.FlagValues(), io.StringIO(), io.StringIO()
    script.define_flags(values)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            rest = console.parse([script.__name__, *arguments], values, script.__name__)
            code = console.guarded(lambda: script.main(values), rest)
        except SystemExit as end:
            code = end.code
    return Result(code, out.getvalue(), err.getvalue())


def refused(script, *arguments: str) -> str:
    """The one line with which a command is refused."""
    result = call(script, *arguments)
    assert result.code == 2, result
    assert not result.out
    assert result.err.count("\n") == 1, result.err
    return result.err


def environment_without(*names: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}


def start(script: str, *arguments: str, **environment: str) -> subprocess.Popen:
    """Starts `python SCRIPT ARGUMENTS` with pipes for its output."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_without(startup.LEVEL) | environment,
    )


def finish(process: subprocess.Popen, seconds: float = 120) -> Result:
    """Waits for the end of a process."""
    out, err = process.communicate(timeout=seconds)
    return Result(process.returncode, out, err)
