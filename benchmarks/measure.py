"""Measures a group of cases: each in a process of its own, all alive at once, one repetition at a time.

A process per case keeps memory apart and leaves no caches behind for the next; taking turns lets all cases of a group
see the same machine. Workers start and compile one after the other, so that the time of the first call is theirs alone.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import floor, peers
from benchmarks.plan import BASELINE, FLOOR, Case, Settings, turns

ROOT = Path(__file__).resolve().parents[1]


class Worker:
    """The near end of `benchmarks.worker`; a context manager.

    Args:
        case: what it measures.
        settings: of all cases.

    Raises:
        ValueError: if the case cannot be made; the message is the worker's.
        RuntimeError: if the process dies, with the end of what it said.
    """

    def __init__(self, case: Case, settings: Settings):
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        extra = floor.ENVIRONMENT if case[-1] == FLOOR else {}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")}
        self._case = case
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in __exit__)
        self._process = subprocess.Popen(
            [interpreter(case), "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **extra, **quiet, "PYTHONPATH": path, "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
        )
        self._order = json.dumps({"case": case, "settings": settings})

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def start(self) -> dict[str, Any]:
        """Loads, compiles and makes the first call."""
        return self._ask(self._order)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def stop(self) -> None:
        """Kills the process; whoever waits for its answer gets a RuntimeError."""
        self._process.kill()

    def run(self) -> float:
        """Seconds of one repetition."""
        return self._ask("run")["seconds"]

    def memory(self) -> dict[str, float]:
        """`peak_mib`, see `benchmarks.worker`."""
        return self._ask("memory")

    def _ask(self, request: str) -> dict[str, Any]:
        line = ""
        with contextlib.suppress(BrokenPipeError):
            print(request, file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"The worker of {' / '.join(self._case)} died:\n{self._log.read()[-3000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer


def interpreter(case: Case) -> str | None:
    """The Python that can run a case; None if there is none."""
    return peers.interpreter() if case[-1] == "jax" else sys.executable


def measure(
    cases: Sequence[Case],
    settings: Settings,
    repetitions: int,
    on_progress: Callable[[str], None] = lambda message: None,
) -> list[dict[str, Any]]:
    """Measures the cases of one group.

    Args:
        cases: of one group.
        settings: of all cases.
        repetitions: timed repetitions per case, after one that is thrown away.
        on_progress: told what is being done.

    Returns:
        One dict per case, ready for JSON: the case's names, what its worker answers, and what `summarize` makes of the
        seconds; of a case that cannot be run here, the names and a `note` that says why.
    """
    absent = [case._asdict() | {"note": peers.MISSING} for case in cases if not interpreter(case)]
    cases = [case for case in cases if interpreter(case)]
    return (_measure(cases, settings, repetitions, on_progress) if cases else []) + absent


def _measure(cases, settings, repetitions, on_progress):
    with contextlib.ExitStack() as stack:
        workers, facts = [], []
        for case in cases:
            on_progress(f"{' / '.join(case)}: loading and compiling")
            workers.append(stack.enter_context(Worker(case, settings)))
            facts.append(workers[-1].start())
        seconds = [[] for _ in cases]
        on_progress(f"{' / '.join(cases[0][:3])}: {repetitions} rounds of {', '.join(case.method for case in cases)}")
        for worker in workers:
            worker.run()
        for turn in turns(len(workers), repetitions):
            seconds[turn].append(workers[turn].run())
        memory = [worker.memory() for worker in workers]
    timing = summarize([case.method for case in cases], seconds, settings.num_steps)
    return [case._asdict() | t | f | m for case, t, f, m in zip(cases, timing, facts, memory, strict=True)]


def summarize(methods: Sequence[str], seconds: Sequence[Sequence[float]], num_steps: int) -> list[dict[str, Any]]:
    """Times of the methods of a group.

    Args:
        methods: names.
        seconds: `[method][round]`, of `num_steps` steps each.
        num_steps: steps per repetition.

    Returns:
        Per method: `ms_median` and `ms_min`, milliseconds per optimizee step, over the rounds; `ratio`, the median over
        the rounds of its time divided by the time of the baseline in the same round (below 1: faster), and
        `floor_ratio`, the same for the floor; None without baseline, or without floor.
    """

    def ratio(times, reference):
        if reference not in methods:
            return None
        return statistics.median(t / r for t, r in zip(times, seconds[methods.index(reference)], strict=True))

    return [
        {
            "ms_median": 1e3 * statistics.median(times) / num_steps,
            "ms_min": 1e3 * min(times) / num_steps,
            "ratio": ratio(times, BASELINE),
            "floor_ratio": ratio(times, FLOOR),
        }
        for times in seconds
    ]
