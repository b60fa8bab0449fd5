"""Writes compiled windows as StableHLO, to time them on a machine that has JAX and a GPU but no TensorFlow.

    python -m benchmarks.gpu_export --meta_batch_size=1,16,256         # here, with TensorFlow
    python -m benchmarks.bench_gpu build/hlo                           # there, with JAX and NumPy

It exports the programs that XLA compiles for meta_train.py and evaluate.py: a window of `unroll_length` steps with its
meta-gradient, and a window of an evaluation. With `--meta_batch_size=K` they take K optimizees side by side, which is
what fills a GPU. The folder has, for each phase and K, the program, its inputs, and the outputs that TensorFlow
computes here, with which `benchmarks.bench_gpu` compares its own.
"""

import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import peers
from l2o_tf.cli import console
from l2o_tf.common import nest
from l2o_tf.optimizers import Optimizer, make_optimizer
from l2o_tf.saving import provenance
from l2o_tf.training.lessons.lesson import Group, Setting
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.unrolling import batch, unroll
from l2o_tf.unrolling.batch import Optimizees
from l2o_tf.unrolling.meta_gradients import FirstOrder
from problems import Problem, make_problem
from problems.base import make_seed

SEED = make_seed(0)


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    text = f"Optimizee; the JAX program knows {', '.join(peers.PERCEPTRONS)}."
    flags.DEFINE_string("problem", "mnist", text, flag_values=values)
    flags.DEFINE_string("optimizer", "L2O-DM", "Architecture; the JAX program is L2O-DM.", flag_values=values)
    flags.DEFINE_integer("unroll_length", 20, "Steps per window of training.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("num_steps", 100, "Steps per window of an evaluation.", lower_bound=1, flag_values=values)
    flags.DEFINE_list("meta_batch_size", ["1"], "K, optimizees side by side; several numbers.", flag_values=values)
    flags.DEFINE_string("data", "auto", "Source of images: 'auto', 'tfds', 'embedded'.", flag_values=values)
    flags.DEFINE_string("output", "build/hlo", "Folder to write to.", flag_values=values)


def training_step(optimizees: Optimizees, student: Optimizer):
    """`(params, states, batches) -> (meta-loss, gradients, losses, params)` of one window, under XLA.

    The backward pass takes all coordinates together, as on a GPU, and not in blocks as on a processor.
    """
    group = Group(Setting(optimizees.problem, student, FirstOrder(), jit_compile=False), optimizees, student)
    window, start = OwnTrajectory().compile_window(group), group.first_run(SEED, 0)

    @tf.function(jit_compile=True, autograph=False)
    def step(params, states, batches):
        begun = start._replace(state=start.state._replace(params=params, optimizer=states))
        run, outcome = window(begun, batches, SEED)
        return outcome.meta_loss, outcome.gradients, outcome.losses, nest.flatten(run.state.params)

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
            shape=optimizees.shape,
        )
        return optimizees.mean_losses(found.losses), nest.flatten(state.params)

    return step


def export(
    folder: Path, problem: Problem, optimizer: Optimizer, phase: str, num_steps: int, meta_batch_size: int = 1
) -> None:
    """Writes one phase: `program.stablehlo`, `arrays.npz`, `facts.json`.

    In `arrays.npz`, `in_0`, `in_1`, ... are the program's arguments in their order, `out_0`, ... its results, and
    `theta [K, N]` the parameters of each optimizee as one vector.
    """
    optimizees = batch.Optimizees(problem, meta_batch_size, optimizer)
    optimizer = optimizees.in_blocks_if_large(optimizer)
    seeds = optimizees.seeds(SEED)
    params, batches = optimizees.problem.init(seeds)[0], optimizees.problem.sample(seeds, num_steps + 1)
    states = optimizer.initial_state(params, SEED)
    step = {"training": training_step, "evaluation": evaluation_step}[phase](optimizees, optimizer)
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
        "weights": list(optimizer.named_variables),
        "named": _places(problem, optimizer, batches, arguments),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))


def _captured(concrete) -> list[tf.Tensor]:
    """What the program takes besides its arguments: weights and data, variables by their values."""
    values = {id(variable.handle): variable.value() for variable in concrete.variables}
    return [values.get(id(tensor), tensor) for tensor in concrete.captured_inputs]


def _places(problem: Problem, optimizer: Optimizer, batches, arguments: list[np.ndarray]) -> dict[str, int]:
    """Name -> number of the argument, of what the JAX program needs."""
    named = {"batches": batches} | {name: variable.value for name, variable in optimizer.named_variables.items()}
    values = {name: np.asarray(tensor) for name, tensor in named.items()}
    size = problem.data.size
    places = {
        name: next(i for i, x in enumerate(arguments) if x.shape == value.shape and np.array_equal(x, value))
        for name, value in values.items()
    }
    places["images"] = next(i for i, x in enumerate(arguments) if x.dtype == np.uint8 and len(x) == size)
    places["labels"] = next(i for i, x in enumerate(arguments) if x.shape == (size,))
    return places


def main(values: flags.FlagValues) -> int:
    """Writes both phases of every K."""
    keras.utils.set_random_seed(0)
    optimizer = make_optimizer(values.optimizer)
    for phase, mode, steps in (("training", "train", values.unroll_length), ("evaluation", "test", values.num_steps)):
        problem = make_problem(values.problem, mode=mode, data=values.data)
        for count in map(int, values.meta_batch_size):
            folder = Path(values.output) / f"{phase}_{count}"
            export(folder, problem, optimizer, phase, steps, count)
            print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 2**20:.1f} MiB", flush=True)
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
