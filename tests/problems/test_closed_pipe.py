"""Output that nobody reads any more ends nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from problems.common.closed_pipe import ForgivingStream

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("-m l2o_tf", "meta_train.py --help")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone(command):
    """As in `... | true`."""
    read, write = os.pipe()
    os.close(read)
    try:
        given = [sys.executable, *command.split()]
        done = subprocess.run(given, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, timeout=60)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_streams_that_are_closed():
    """As by `>&- 2>&-`, which a shell does; what is opened later must not become one of them."""
    code = (
        "import os, sys; from problems.common import closed_pipe; closed_pipe.install(); print(1, flush=True); "
        "print(2, file=sys.stderr, flush=True); assert os.dup(2) > 2"
    )
    command = ["sh", "-c", 'exec "$0" "$@" >&- 2>&-', sys.executable, "-c", code]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == 0


def test_what_is_not_forgiven_is_an_error(tmp_path):
    """A result that a full disk cannot take is not lost without a word."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        strict, kind = ForgivingStream(stream, PermissionError), ForgivingStream(stream, OSError)
        strict.write("held back")
        with pytest.raises(BrokenPipeError):
            strict.flush()
        assert kind.write("words") == 5 and not kind.isatty()
        kind.flush()
        kind.write("more")
        kind.flush()
