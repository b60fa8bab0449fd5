"""The process that holds one case, and runs a repetition when it is told to.

Spoken over pipes, one JSON object per line::

    <- {"case": [...], "settings": [...]}
    -> {"first_call_s", "data", "coordinates", "device"}      or {"error": "..."}
    <- "run"       -> {"seconds": 0.123}                                  any number of times
    <- "memory"    -> {"peak_mib"}
    <- end of file: the process ends

**Memory** is resident memory of this process on the host: its high-water mark (`VmHWM`) at the end, minus what was
resident just before the first call, when TensorFlow was loaded, the data were on the device and the optimizer was made.
So it covers tracing, TensorFlow's and XLA's compilers (their code as well, which is only read from disk when used) and
the tensors of the run. Before the first call the mark is set back by `/proc/self/clear_refs` (Linux); where that is not
possible, what loading took at most is subtracted. Memory of an accelerator is not in it.
"""

import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path

from benchmarks.plan import Case, Settings
from problems import quiet


def high_water_mib() -> float:
    """Largest resident size since the start, or since the last `reset_high_water`.

    Linux says it of this process alone; `getrusage` also counts the parent from which it was forked.
    """
    with contextlib.suppress(OSError):
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def reset_high_water() -> None:
    """Sets the high-water mark back to what is resident now, where the system lets us."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return


def serve(case: Case, settings: Settings, requests, reply) -> None:
    """Prepares the case, makes its first call, then answers `requests` until they end."""
    if case.method == "jax":
        from benchmarks.peers.jax_case import prepare
    else:
        quiet.import_tensorflow()
        from benchmarks.cases import prepare
    repetition, facts = prepare(case, settings)
    reset_high_water()
    base = high_water_mib()
    first_call = _seconds(repetition)
    reply(first_call_s=first_call, **facts)
    for request in requests:
        if request.strip() == "run":
            reply(seconds=_seconds(repetition))
        else:
            reply(peak_mib=high_water_mib() - base)


def _seconds(repetition) -> float:
    started = time.perf_counter()
    repetition()
    return time.perf_counter() - started


def main() -> None:
    """Keeps standard output for the answers; whatever libraries print there goes to standard error."""
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
