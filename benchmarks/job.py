"""Jobs of several workers on this machine: one process each, connected over 127.0.0.1."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Ended(NamedTuple):
    """How a worker ended, what it printed, and what it said on stderr."""

    code: int
    printed: str
    said: str


def addresses(count: int) -> list[str]:
    """Addresses of this machine that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


@contextlib.contextmanager
def started(
    command: Sequence[str], count: int, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[list[subprocess.Popen]]:
    """Starts `python COMMAND` once for each worker, with the flags that say where the workers are.

    A single one gets none of them. At the end, all that still run are killed.
    """
    where = addresses(count)
    processes = []
    try:
        for index in range(count):
            flags = [f"--workers={','.join(where)}", f"--worker_index={index}"] if count > 1 else []
            processes.append(
                subprocess.Popen(
                    [sys.executable, *command, *flags],
                    cwd=ROOT,
                    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()


def finish(processes: Sequence[subprocess.Popen], seconds: float = 300) -> list[Ended]:
    """Waits until all have ended.

    Raises:
        subprocess.TimeoutExpired: if one takes longer.
    """
    said = [process.communicate(timeout=seconds) for process in processes]
    return [Ended(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def run(
    command: Sequence[str], count: int, environment: Mapping[str, str] = MappingProxyType({}), seconds: float = 300
) -> list[Ended]:
    """Runs a job to its end."""
    with started(command, count, environment) as processes:
        return finish(processes, seconds)
