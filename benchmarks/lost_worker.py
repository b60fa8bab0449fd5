"""Loses one of two workers, and goes on: what the machines of a cluster do one day, on this machine in a minute.

    make workers
    python -m benchmarks.lost_worker

Two processes meta-train on the embedded digits together. One is killed; the other has to end with one clear message.
The same commands continue. The weights must be those of a run that nobody disturbed, bit for bit; those of a single
process with the same optimizees are compared, too, whose sums have another order.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import job

EPOCHS, KILL_AT = 24, 8
FLAGS = ["--problem=digits", "--architecture=layers=8", "--num_steps=200", "--meta_batch_size=4"]
FLAGS += [f"--num_epochs={EPOCHS}", "--evaluation_period=4", "--num_runs_validation=3", "--checkpoint_seconds=0"]


class FailedError(Exception):
    """What was promised did not happen."""


def require(condition: bool, what: str) -> None:
    """Says what happened; raises FailedError if it did not."""
    print(f"{'ok    ' if condition else 'FAILED'}  {what}", flush=True)
    if not condition:
        raise FailedError(what)


def train(folder: Path, count: int, flags: Sequence[str] = FLAGS) -> tuple[dict[str, np.ndarray], list]:
    """Trains to the end; returns the weights and the validations."""
    ended = job.run(["meta_train.py", *flags, f"--output_dir={folder}"], count)
    require(not any(each.code for each in ended), f"{count} of {count} workers train to the end in {folder.name}")
    with np.load(folder / "weights.npz", allow_pickle=False) as file:
        weights = {name: file[name] for name in file.files}
    return weights, json.loads((folder / "optimizer.json").read_text())["validation"]


def lose(folder: Path, flags: Sequence[str] = FLAGS, seconds: float = 60) -> str:
    """Trains, and kills the second worker in the middle of it; returns the last line of the first one."""
    records = folder / "records.jsonl"
    with job.started(["meta_train.py", *flags, f"--output_dir={folder}"], 2) as processes:
        while not records.exists() or len(records.read_text().splitlines()) < KILL_AT:
            if processes[0].poll() is not None:
                raise FailedError(f"The first worker has ended: {processes[0].communicate()[1]}")
            time.sleep(0.01)
        processes[1].kill()
        began = time.monotonic()
        chief, other = job.finish(processes, seconds)
    took = time.monotonic() - began
    require(chief.code == 2 and other.code < 0, f"one is killed; the other ends {took:.1f} s later with an exit code")
    return chief.said.strip().splitlines()[-1]


def main() -> int:
    """Does all of it; returns 1 if a promise is broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            undisturbed = train(folder / "undisturbed", 2)
            said = lose(folder / "resumed")
            require("127.0.0.1" in said and "same commands" in said, f"it says: {said}")
            resumed = train(folder / "resumed", 2)
            equal = all(np.array_equal(resumed[0][key], undisturbed[0][key]) for key in undisturbed[0])
            equal &= resumed[1] == undisturbed[1]
            require(equal, "the resumed weights and validations are those of the undisturbed run, bit for bit")
            alone, _ = train(folder / "alone", 1)
            apart = max(float(np.abs(alone[key] - undisturbed[0][key]).max()) for key in alone)
            print(f"ok      largest difference to the weights of one process with both optimizees: {apart:.1e}")
        except FailedError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
