"""Runs commands at the same time, each in a process of its own with its share of the cores.

A share is a set of cores, which a process inherits (`os.sched_setaffinity`). TensorFlow and XLA make as many threads as
they find cores; processes with all threads each would slow each other down.

Ctrl-C, SIGTERM and a closed terminal reach the children as SIGTERM: with the first one a meta-training saves and ends,
a second one ends it at once. Children have sessions of their own, so that a terminal does not signal them besides.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

SECONDS = 1.0
"""Between two looks at the jobs."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
"""They say the same where processes cannot be kept on some of the cores."""


class Job(NamedTuple):
    """Commands that follow each other; their output is added to a log file.

    The next command is asked for when the one before has ended with code 0.
    """

    name: str
    log: Path
    commands: Iterable[Sequence[str]]


class Children:
    """The processes of some jobs, so many at a time. `failed` says why, by name: exit code and last line of a job."""

    def __init__(self, processes: int) -> None:
        self._shares = shares(processes)
        self._environment = dict.fromkeys(THREADS, str(len(self._shares[0]))) | os.environ
        self.failed: dict[str, str] = {}
        self._at_work: dict[str, subprocess.Popen] = {}
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, jobs: Sequence[Job], watch: Callable[[Collection[str]], None]) -> int:
        """Does all jobs; returns the number of the signal that ended this, or 0.

        A job that fails does not end the others. `watch` gets the names of those at work, again and again.
        """
        free = iter(self._shares)
        workers = ThreadPoolExecutor(len(self._shares), initializer=lambda: _stay_on(next(free)))
        with _signals() as received, workers:
            futures = [workers.submit(self._do, job) for job in jobs]
            told = 0
            while wait(futures, SECONDS).not_done:
                if len(received) > told:
                    told = len(received)
                    self._interrupt()
                watch(list(self._at_work))
        for future in futures:
            future.result()
        return received[0] if received else 0

    def _do(self, job: Job) -> None:
        for command in job.commands:
            with self._lock, contextlib.ExitStack() as opened:
                if self._stopped:
                    return
                log = opened.enter_context(job.log.open("ab"))
                begun, streams = log.tell(), {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
                process = subprocess.Popen(command, env=self._environment, start_new_session=True, **streams)
                self._at_work[job.name] = process
            code = process.wait()
            del self._at_work[job.name]
            if code:
                said = job.log.read_bytes()[begun:].decode(errors="replace").split("\n")
                last = next(filter(str.strip, reversed(said)), "nothing was said")
                self.failed |= {} if self._stopped else {job.name: f"exit code {code}: {last}"}
                return

    def _interrupt(self) -> None:
        with self._lock:
            self._stopped = True
            for process in list(self._at_work.values()):
                process.terminate()


def cores() -> list[int]:
    """Those that this process, and with it its children, may use."""
    return sorted(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def shares(processes: int) -> list[set[int]]:
    """The cores of each of so many processes; two have the same only if there are more processes than cores."""
    known = cores()
    ends = [index * len(known) // processes for index in range(processes + 1)]
    return [set(known[ends[i] : ends[i + 1]] or [known[i % len(known)]]) for i in range(processes)]


def _stay_on(share: set[int]) -> None:
    """Keeps this thread, and the processes that it starts, on some of the cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects signals instead of obeying them, but for those that are ignored already, as SIGHUP under nohup."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    obeyed = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in obeyed:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        for number in obeyed:
            signal.signal(number, before[number])
