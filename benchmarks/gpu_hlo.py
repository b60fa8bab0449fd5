"""Writes the compiled meta-step as StableHLO, so that it can be timed where there is JAX and a GPU but no TensorFlow.

    python -m benchmarks.gpu_hlo --meta_batch_size=1,16,256            # here, with TensorFlow
    python -m benchmarks.run_hlo build/hlo                             # there, with JAX and NumPy

What is lowered is what XLA compiles for meta_train.py and evaluate.py: a window of `unroll_length` steps with its
meta-gradient, and a window of an evaluation; with `--meta_batch_size=K` those of K optimizees side by side, which is
what fills a GPU, in blocks of coordinates where there are many (`l2o_tf/optimizers/blocks.py`).

The folder has, for each phase and K, the program as a portable StableHLO artifact, its inputs, and the outputs that
TensorFlow has computed here, by which the runner knows that it runs the very program. Inputs that the JAX peer needs
are listed by name.
"""

import functools
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.plan import PERCEPTRONS
from l2o_tf.cli import console
from l2o_tf.common import nest
from l2o_tf.optimizers import Optimizer, make_optimizer
from l2o_tf.saving import provenance
from l2o_tf.training.lessons.lesson import Optimizees, compile_window
from l2o_tf.unrolling import objectives, unroll
from problems import Problem, make_problem
from problems.base import make_seed, shapes_of

SEED = make_seed(0)
_FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this script; not on import, since others have some of the same names."""
    flags.DEFINE_string("problem", "mnist", "Optimizee; the JAX peer knows " + ", ".join(PERCEPTRONS) + ".")
    flags.DEFINE_string("optimizer", "L2O-DM", "Architecture; the JAX peer is L2O-DM.")
    flags.DEFINE_integer("unroll_length", 20, "Steps per window of meta-training.", lower_bound=1)
    flags.DEFINE_integer("num_steps", 100, "Steps per window of an evaluation.", lower_bound=1)
    flags.DEFINE_list("meta_batch_size", ["1"], "K, optimizees or runs of an evaluation side by side; several numbers.")
    flags.DEFINE_string("data", "auto", "Where images come from: 'auto', 'tfds', 'embedded'.")
    flags.DEFINE_string("output", "build/hlo", "Folder to write to.")


def training_step(optimizees: Optimizees, student: Optimizer, *, in_blocks: bool):
    """`(params, states, batches) -> (meta-loss, gradients, losses, params)` of one window, under XLA.

    Args:
        optimizees, student: what is trained on, and what is trained.
        in_blocks: whether the backward pass takes blocks of coordinates, as it does on a processor (there several at a
            time, here one after the other), or all of them together, as on a GPU.
    """
    window = compile_window(optimizees, student, objective=objectives.total, jit_compile=in_blocks)
    start = optimizees.first_run(student, SEED)

    @tf.function(jit_compile=True, autograph=False)
    def step(params, states, batches):
        run, outcome = window(start._replace(params=params, student=states), batches)
        return outcome.meta_loss, outcome.gradients, outcome.losses, nest.flatten(run.params)

    return step


def evaluation_step(optimizees: Optimizees, optimizer: Optimizer):
    """`(params, states, batches) -> (losses, params)` of one window, under XLA."""

    @tf.function(jit_compile=True, autograph=False)
    def step(params, states, batches):
        state, found = unroll.unroll(
            lambda params, batch: optimizees.problem.loss(params, (), batch),
            optimizer,
            unroll.UnrollState(params, states),
            batches,
            side_by_side=optimizees.count,
        )
        return optimizees.mean_of_losses(found.losses), nest.flatten(state.params)

    return step


def export(
    folder: Path, problem: Problem, optimizer: Optimizer, phase: str, num_steps: int, meta_batch_size: int = 1
) -> None:
    """Writes one phase: `program.stablehlo`, `arrays.npz`, `facts.json`.

    In `arrays.npz`, `in_0`, `in_1`, ... are the program's arguments in their order, `out_0`, ... its results, and
    `theta [K, N]` the parameters of each optimizee as one vector.
    """
    optimizees = Optimizees.of(problem, meta_batch_size, optimizer)
    optimizer = optimizees.in_blocks_if_large(optimizer)
    seeds, params = optimizees.seed(SEED), optimizees.first_run(optimizer, SEED).params
    states, batches = optimizer.initial_state(params, SEED), optimizees.problem.sample(seeds, num_steps + 1)
    make = {"training": functools.partial(training_step, in_blocks=False), "evaluation": evaluation_step}[phase]
    step = make(optimizees, optimizer)
    program = step.experimental_get_compiler_ir(params, states, batches)(stage="stablehlo_serialized")
    concrete = step.get_concrete_function(params, states, batches)
    arguments = [np.asarray(x) for x in (*tf.nest.flatten((params, states, batches)), *_captured(concrete))]
    outputs = [np.asarray(x) for x in tf.nest.flatten(step(params, states, batches))]
    arrays = {f"{kind}_{i}": x for kind, found in (("in", arguments), ("out", outputs)) for i, x in enumerate(found)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.stablehlo").write_bytes(program)
    theta = np.concatenate([np.reshape(x, [meta_batch_size, -1]) for x in params.values()], axis=1)
    np.savez_compressed(folder / "arrays.npz", theta=theta, **arrays)
    facts = {
        "commit": provenance()["commit"],
        "phase": phase,
        "problem": problem.name,
        "optimizer": optimizer.kind,
        "meta_batch_size": meta_batch_size,
        "num_steps": num_steps,
        "batch_size": int(batches.shape[-1]),
        "data": str(problem.data),
        "shapes": {name: list(like.shape) for name, like in shapes_of(problem, SEED).items()},
        "weights": list(optimizer.named_variables),
        "named": _places(problem, optimizer, batches, arguments),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))


def _captured(concrete) -> list[tf.Tensor]:
    """What the program takes besides its arguments: weights and data, variables by their values."""
    values = {id(variable.handle): variable.value() for variable in concrete.variables}
    return [values.get(id(tensor), tensor) for tensor in concrete.captured_inputs]


def _places(problem: Problem, optimizer: Optimizer, batches, arguments: list[np.ndarray]) -> dict[str, int]:
    """Name -> number of the argument, of what the peer needs."""
    images, labels = problem.examples(tf.range(problem.data.size))
    named = {"batches": batches, "images": images, "labels": labels}
    named |= {name: variable.value for name, variable in optimizer.named_variables.items()}
    values = {name: np.asarray(tensor) for name, tensor in named.items()}
    return {
        name: next(i for i, x in enumerate(arguments) if x.shape == value.shape and np.array_equal(x, value))
        for name, value in values.items()
    }


def main() -> None:
    """Writes both phases of every K."""
    wrong = [count for count in _FLAGS.meta_batch_size if not (count.isdecimal() and int(count) > 0)]
    if wrong:
        raise ValueError(f"Received --meta_batch_size={','.join(wrong)}, expected positive numbers.")
    keras.utils.set_random_seed(0)
    optimizer = make_optimizer(_FLAGS.optimizer)
    if not optimizer.coordinatewise and _FLAGS.meta_batch_size != ["1"]:
        raise ValueError(f"Received several optimizees for {_FLAGS.optimizer}, which takes them one by one only.")
    for phase, mode, steps in (("training", "train", _FLAGS.unroll_length), ("evaluation", "test", _FLAGS.num_steps)):
        problem = make_problem(_FLAGS.problem, mode=mode, data=_FLAGS.data)
        for count in map(int, _FLAGS.meta_batch_size):
            folder = Path(_FLAGS.output) / f"{phase}_{count}"
            export(folder, problem, optimizer, phase, steps, count)
            print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 2**20:.1f} MiB", flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(lambda rest: console.guarded(main, rest))
