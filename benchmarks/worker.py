"""A case in a process of its own: `Worker` is the near end, `python -m benchmarks.worker` the far one.

A process per case keeps memory apart, and leaves no caches behind for the next. The ends speak over pipes, one JSON
object per line::

    <- {"case": [...], "settings": [...]}
    -> {"first_call_s", "peak_mib", "data", "coordinates", "device"}      or {"error": "..."}
    <- "run"    -> {"seconds", "peak_mib"}                                any number of times
    <- end of file: the process ends

**Memory** is resident memory of the process on the host. It is the high-water mark (`VmHWM`) at the end, minus what was
resident just before the first call, when libraries, data and optimizer were loaded. So it covers tracing, the compilers
of TensorFlow and XLA, and the tensors of the run, but no memory of an accelerator. Before the first call
`/proc/self/clear_refs` (Linux) sets the mark back. Where that fails, the peak of loading is subtracted instead.

Nothing here imports TensorFlow or JAX before a case needs it.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import Case, Settings, floor, peers

AS_FOUND = dict(os.environ)
"""The environment before `l2o_tf` sets options of XLA for itself."""


class Worker:
    """The near end; a context manager.

    Args:
        case, settings: what to measure.

    Raises:
        ValueError: if the case cannot be made, with the worker's message.
        RuntimeError: if the process dies, with the end of its output.
    """

    def __init__(self, case: Case, settings: Settings):
        environment = dict(AS_FOUND if case[-1] == "jax" else os.environ)
        environment |= floor.ENVIRONMENT if case[-1] == "floor" else {}
        self._case = case
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in __exit__)
        self.process = subprocess.Popen(
            [interpreter(case), "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={"TF_CPP_MIN_LOG_LEVEL": "2", **environment, "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
        )
        self._order = json.dumps({"case": case, "settings": settings})

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._log.close()

    def start(self) -> dict[str, Any]:
        """Loads, compiles and makes the first call."""
        return self._ask(self._order)

    def run(self) -> dict[str, float]:
        """`seconds` of one repetition, and `peak_mib` up to now."""
        return self._ask("run")

    def _ask(self, request: str) -> dict[str, Any]:
        line = ""
        with contextlib.suppress(BrokenPipeError):
            print(request, file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
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


def high_water_mib() -> float:
    """Largest resident size since the start, or since the last `reset_high_water`."""
    with contextlib.suppress(OSError):  # of this process alone; getrusage also counts the parent before the fork
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def reset_high_water() -> None:
    """Sets the high-water mark back to the present size, where the system allows it."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def serve(case: Case, settings: Settings, requests, reply) -> None:
    """Prepares the case, makes its first call, then answers `requests` until they end."""
    if case.method == "jax":
        from benchmarks.peers.jax_case import prepare
    else:
        from benchmarks.cases import prepare
    repetition, facts = prepare(case, settings)
    reset_high_water()
    base = high_water_mib()
    reply(first_call_s=_seconds(repetition), peak_mib=high_water_mib() - base, **facts)
    for _ in requests:
        reply(seconds=_seconds(repetition), peak_mib=high_water_mib() - base)


def _seconds(repetition) -> float:
    started = time.perf_counter()
    repetition()
    return time.perf_counter() - started


def main() -> None:
    """The far end. Standard output is for answers; what libraries print there goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def reply(**values):
        print(json.dumps(values), file=answers)

    order = json.loads(sys.stdin.readline())
    try:
        serve(Case(*order["case"]), Settings(*order["settings"]), sys.stdin, reply)
    except ValueError as error:
        reply(error=str(error))


if __name__ == "__main__":
    main()
