"""What the guard is worth: a learned optimizer in Keras with and without it, beside Adam alone.

    python -m benchmarks.measure_guard
    python -m benchmarks.measure_guard --problem=mnist_conv --optimizer=L2O-DM --num_steps=10000 --num_runs=3

Trains the Keras twin of a problem (benchmarks/twins.py) on its test images, as evaluate.py does, by each optimizer from
the same initial values on the same minibatches. `Adam` is the one that the guard falls back to, with the same learning
rate. The numbers are ln of the mean of the 50 losses that end at the step, averaged over runs. Results go to --output,
one per optimizer and run; those that exist are kept, so an interrupted measurement goes on where it was.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import twins
from l2o_tf.cli import console
from l2o_tf.keras_optimizer.guard import Guard
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer
from l2o_tf.saving import provenance, write_atomically
from problems import Problem, make_problem
from problems.base import fold, make_seed

_FLAGS = flags.FLAGS
WINDOW = 100
STEPS = (100, 1000, 2000, 5000, 10_000)


def define_flags() -> None:
    """The flags of this script; not on import, since others have some of the same names."""
    flags.DEFINE_string("problem", "mnist_conv", "A problem that has a twin.")
    flags.DEFINE_string("optimizer", "L2O-DM", "A learned optimizer, as for evaluate.py.")
    flags.DEFINE_integer("num_steps", 10_000, "Steps per run.", lower_bound=1)
    flags.DEFINE_integer("num_runs", 3, "Runs of each.", lower_bound=1)
    flags.DEFINE_enum("data", "auto", ["auto", "tfds", "embedded"], "Where images come from.")
    flags.DEFINE_string("output", "experiments/results/guard", "Folder of the result files.")


def optimizers(name: str) -> dict[str, keras.optimizers.Optimizer]:
    """What is compared."""
    adam = keras.optimizers.Adam(Guard().learning_rate)
    return {"Adam": adam, f"{name} guarded": LearnedOptimizer(name, guard=True), name: LearnedOptimizer(name)}


def losses(problem: Problem, model: keras.Model, optimizer: keras.optimizers.Optimizer, seed) -> Iterator[np.ndarray]:
    """Trains the twin from the problem's initial values; yields the losses of `WINDOW` steps at a time."""
    twins.assign(model, problem.init(seed)[0])
    variables = twins.variables(model)
    optimizer.build(variables)
    objective = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(autograph=False)
    def step(batch):
        images, labels = problem.examples(batch)
        with tf.GradientTape() as tape:
            loss = objective(labels, model(tf.cast(images, tf.float32) / 255, training=True))
            scaled = optimizer.scale_loss(loss)
        optimizer.apply(tape.gradient(scaled, variables), variables)
        return loss

    for window in range(1_000_000):
        batches = problem.sample(fold(seed, window), WINDOW)
        yield np.array([float(step(batches[t])) for t in range(WINDOW)])


def run(problem: Problem, twin: str, optimizer: keras.optimizers.Optimizer, seed, num_steps: int) -> dict:
    """One run as JSON types: ln losses at `STEPS`, and what the guard did."""
    windows, curve = losses(problem, twins.MODELS[twin](), optimizer, seed), []
    while len(curve) < num_steps:
        curve.extend(next(windows))
    curve = curve[:num_steps]
    found = {step: math.log(np.mean(curve[max(0, step - 50) : step])) for step in STEPS if step <= num_steps}
    guarded = isinstance(optimizer, LearnedOptimizer) and optimizer.get_config()["guard"]
    return {"ln_loss": found, "guard": optimizer.guard_report() if guarded else None}


def main() -> None:
    """Runs what is missing and prints a table of what is there."""
    if _FLAGS.problem not in twins.MODELS:
        raise ValueError(f"Received --problem={_FLAGS.problem}, expected one of {', '.join(twins.MODELS)}.")
    problem = make_problem(_FLAGS.problem, mode="test", data=_FLAGS.data)
    folder = Path(_FLAGS.output)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(_FLAGS.num_runs):
        for label, optimizer in optimizers(_FLAGS.optimizer).items():
            path = folder / f"{_FLAGS.problem}--{label.replace(' ', '_')}--{index}.json"
            if not path.exists():
                found = run(problem, _FLAGS.problem, optimizer, make_seed(index), _FLAGS.num_steps)
                found |= {"optimizer": label, "run": index, "provenance": provenance()}
                write_atomically(path, json.dumps(found, indent=1).encode())
            print(f"{label:24} run {index}: {json.loads(path.read_text())['ln_loss']}", flush=True)
    print(table(folder, _FLAGS.problem))


def table(folder: Path, problem: str) -> str:
    """Means over runs, in Markdown."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{problem}--*.json"))]
    lines = [f"| optimizer | runs | {' | '.join(f'{s:,}' for s in STEPS)} | given up at, Adam from |", "|---" * 8 + "|"]
    for label in dict.fromkeys(result["optimizer"] for result in results):
        own = [result for result in results if result["optimizer"] == label]
        cells = []
        for step in map(str, STEPS):
            values = [result["ln_loss"][step] for result in own if step in result["ln_loss"]]
            cells.append(f"{np.mean(values):.2f} ± {np.std(values):.2f}" if values else "")
        steps = ["{fallback} ({adam_from})".format(**result["guard"]) for result in own if result["guard"]]
        lines.append(f"| {label} | {len(own)} | {' | '.join(cells)} | {', '.join(steps)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    app.run(lambda rest: console.guarded(main, rest))
