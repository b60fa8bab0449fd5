"""One of two workers, as `test_workers.py` starts them: trains, is lost, resumes; prints what it found as JSON."""

import hashlib
import json
import math
import os
import signal
import sys
from pathlib import Path

import tensorflow as tf

import l2o_tf as l2o

EPOCHS, LOST_AT, TOLD_AT = 6, 3, 4


def problem() -> l2o.Problem:
    return l2o.make_problem("quadratic", batch_size=2, num_dims=2)


def trainer(schedule=(), **options) -> l2o.MetaTrainer:
    options = {"windows": 5, "curriculum": 10, "meta_batch_size": 4, "jit_compile": False, **options}
    validation = l2o.Validation(period=2, num_runs=3)
    student = l2o.L2ODM(layers=(3,), seed=0)
    return l2o.MetaTrainer(student, problem(), validation=validation, schedule=schedule, **options)


def evaluated(folder, **options) -> l2o.Results:
    return l2o.evaluate("Adam", "digits", num_steps=100, num_runs=3, full_period=100, folder=folder, **options)


class Sends:
    """A schedule, which sends this process a signal before a meta-epoch."""

    def __init__(self, epoch: int, number: int):
        self.epoch, self.number = epoch, number

    def __call__(self, epoch, stage):
        if epoch == self.epoch and self.number:
            os.kill(os.getpid(), self.number)
        return 1.0


def digest(trained: l2o.MetaTrainer) -> str:
    """Of φ, the best φ and all slots."""
    return hashlib.sha256(b"".join(variable.numpy().tobytes() for variable in trained._held())).hexdigest()


def error_of(action) -> str:
    try:
        action()
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def lose(folder: Path, index: int, workers) -> dict:
    differ = trainer(seed=index, workers=workers)
    found = {"differ": error_of(differ.advance), "many": error_of(lambda: trainer(meta_batch_size=3, workers=workers))}
    agreed = workers.agree((tf.constant(index == 1), tf.constant([index, 1.0 / index if index else math.inf])))
    found["agreed"] = [value.numpy().tolist() for value in agreed]
    (folder / "taken").mkdir(exist_ok=True)
    (folder / "taken" / "records.jsonl").touch()
    undisturbed = trainer(Sends(0, 0), workers=workers)
    found["refused"] = error_of(lambda: undisturbed.run(folder / "taken" if index == 0 else "/nowhere"))
    undisturbed.run(folder / "undisturbed", epochs=EPOCHS)
    found |= {"undisturbed": digest(undisturbed), "history": undisturbed.state.history}
    evaluated(folder / "results", workers=workers)
    print(json.dumps(found), flush=True)
    lost = trainer(Sends(LOST_AT, signal.SIGKILL * index), workers=workers)
    return {"lost": error_of(lambda: lost.run(folder / "run", epochs=EPOCHS, checkpoint_seconds=0))}


def resume(folder: Path, index: int, workers) -> dict:
    again = trainer(Sends(TOLD_AT, signal.SIGINT * index), workers=workers)
    stopped = again.run(folder / "run" if index == 0 else "/nowhere", epochs=EPOCHS)
    told = [stopped.epochs, stopped.finished, stopped.signal]
    again.run(folder / "run" if index == 0 else "/nowhere", epochs=EPOCHS)
    return {"told": told, "resumed": digest(again)}


if __name__ == "__main__":
    action, where, flag, index_flag = sys.argv[1:]
    own = int(index_flag.partition("=")[2])
    found = {"lose": lose, "resume": resume}[action](
        Path(where), own, l2o.connect(flag.partition("=")[2].split(","), own)
    )
    print(json.dumps(found), flush=True)
