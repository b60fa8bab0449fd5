"""Writes compiled windows as StableHLO, to time them on a machine that has JAX and a GPU but no TensorFlow.

    python -m benchmarks.gpu_export                                    # here, with TensorFlow: writes build/gpu
    python -m benchmarks.bench_gpu build/gpu --output=gpu.json         # there, with JAX and NumPy

It exports what XLA compiles for meta_train.py and evaluate.py on a machine with a GPU: a window of `num_steps` steps,
for three architectures and Adam, of K optimizees side by side (`--meta_batch_size`), on the paper's perceptron and on
one of a million coordinates. The methods are

    training     a window with its first-order meta-gradient
    sampled      the same with `Sampled(1/8)`; not of L2O-Scale
    evaluation   steps only

`cases.json` lists the cases, the most important first. Large inputs are recipes (`inputs.py`), so that the folder is
small. For K = 1 it also has the outputs that TensorFlow computes here, with which `benchmarks.bench_gpu` compares its
own. L2O-Scale has K = 1 only, as its coordinates depend on each other.
"""

import dataclasses
import gzip
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import cases, inputs
from l2o_tf.cli import console
from l2o_tf.common import devices, nest
from l2o_tf.optimizers import Optimizer, blocks, make_optimizer
from l2o_tf.saving import provenance
from l2o_tf.training.lessons.lesson import Group, Run, Setting
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.batch import Optimizees
from l2o_tf.unrolling.meta_gradients import FirstOrder, Sampled
from l2o_tf.unrolling.unroll import Sample
from problems.base import DataInfo, Problem, for_many, make_seed, shapes_of
from problems.data.datasets import Dataset
from problems.images.layers import Start, flat, perceptron, starts
from problems.images.perceptrons import classification

SEED = make_seed(0)
MILLION = 1_000_000
MOST = 16 * MILLION
"""Coordinates of all optimizees together, of which more are not exported on the problem of a million."""
METHODS = {"L2O-DM": ("evaluation", "sampled", "training"), "RNNprop": ("evaluation", "sampled", "training")}
METHODS |= {"L2O-Scale": ("evaluation", "training"), "adam": ("evaluation",)}
"""Optimizer -> its methods, the most important first."""


class Case(NamedTuple):
    """A program: names of problem, optimizer and method, and K."""

    problem: str
    optimizer: str
    method: str
    meta_batch_size: int


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_list("problem", ["mnist", "million"], "Optimizees: mnist, million.", flag_values=values)
    flags.DEFINE_list("optimizer", ["adam", *list(METHODS)[:-1]], "Architectures.", flag_values=values)
    text = "K, optimizees side by side; the most important first."
    flags.DEFINE_list("meta_batch_size", ["1", "256", "16", "1024"], text, flag_values=values)
    flags.DEFINE_integer("num_steps", 20, "Steps per window.", lower_bound=1, flag_values=values)
    flags.DEFINE_string("output", "build/gpu", "Folder to write to.", flag_values=values)


def make_cases(problems: list[str], optimizers: list[str], counts: list[int]) -> list[Case]:
    """All cases that there are, the most important first: `mnist` before the other, then in the order of K."""
    for name, given, known in (("problem", problems, PROBLEMS), ("optimizer", optimizers, METHODS)):
        if unknown := [value for value in given if value not in known]:
            raise ValueError(f"Received --{name}={unknown[0]}, expected some of {', '.join(known)}.")
    found = []
    for problem, count, optimizer in itertools.product(problems, counts, optimizers):
        if (optimizer == "L2O-Scale" and count > 1) or (problem == "million" and count * MILLION > MOST):
            continue
        found += [Case(problem, optimizer, method, count) for method in METHODS[optimizer]]
    return found


IMAGES = {"kind": "integers", "shape": [10_000, 28, 28, 1], "dtype": "uint8", "seed": 1, "below": 256}
LABELS = {"kind": "integers", "shape": [10_000], "dtype": "int32", "seed": 2, "below": 10}


def drawn_mnist(batch_size: int = 128) -> Problem:
    """`mnist` on random images: the time does not depend on what they show."""
    images, labels = (tf.constant(inputs.make(recipe, {})) for recipe in (IMAGES, LABELS))
    shapes, network = perceptron(28 * 28, (20,), 10, "sigmoid")
    data = Dataset(images, labels, DataInfo("drawn", "train", len(images), ""))
    init = starts({name: Start(shape) for name, shape in shapes.items()})
    problem = classification("mnist", data, init, lambda params, x: network(params, flat(x)), batch_size)
    return problem._replace(loss=for_many(problem.loss))


PROBLEMS = {"mnist": drawn_mnist, "million": lambda: cases.bowl(MILLION)}


@dataclasses.dataclass(frozen=True)
class Given(Sampled):
    """`Sampled` with a sample that is an input of the program: what draws it does not run under XLA."""

    sample: Sample | None = None

    def draw(self, key, turn, like, count=1):
        return self.sample


def training_step(optimizees: Optimizees, student: Optimizer):
    """`(params, states, batches, *sample) -> (meta-loss, gradients, losses)` of one window, under XLA.

    The backward pass takes all coordinates together, as on a GPU, and not in blocks as on a processor.
    """

    @tf.function(jit_compile=True, autograph=False)
    def step(params, states, batches, *sample):
        method = Given(sample=Sample(*sample, *(() if optimizees.shape else (None,)))) if sample else FirstOrder()
        group = Group(Setting(optimizees.problem, student, method, jit_compile=False), optimizees, student)
        state = unroll.UnrollState(params, states, tf.zeros([], tf.int32), tf.zeros([], tf.int32))
        memory = method.start(student, state, SEED, optimizees.shape)
        begun = Run(state, (), tf.fill(optimizees.shape, math.nan), memory)
        _, outcome = OwnTrajectory().compile_window(group)(begun, batches, SEED)
        return outcome.meta_loss, outcome.gradients, outcome.losses

    return step


def evaluation_step(optimizees: Optimizees, optimizer: Optimizer):
    """`(params, states, batches) -> (losses, the first parameters)` of one window, under XLA."""

    @tf.function(jit_compile=True, autograph=False)
    def step(params, states, batches):
        state, found = unroll.unroll(
            lambda params, batch: optimizees.problem.loss(params, (), batch),
            optimizer,
            unroll.UnrollState(params, states),
            batches,
            shape=optimizees.shape,
        )
        return optimizees.mean_losses(found.losses), nest.flatten(state.params)[:1000]

    return step


def export(folder: Path, problem: Problem, optimizer: Optimizer, case: Case, num_steps: int) -> dict:
    """Writes `NAME.stablehlo.gz` and `NAME.npz` of a case, and returns its facts for `cases.json`.

    `inputs` are recipes of the program's arguments in their order. The file of arrays has those that are stored, and
    of K = 1 `out_0`, `out_1`, ..., the program's results.
    """
    count = case.meta_batch_size
    with mock.patch.object(devices, "has_gpu", lambda: True):
        optimizees, params = Optimizees(problem, count, optimizer), _params(problem, count)
        optimizer = blocks.in_blocks_if_large(optimizer, params)
        arrays: dict[str, np.ndarray] = {}
        states, begin = _states(optimizer, params, arrays)
        batches = tf.TensorSpec([num_steps + 1, *optimizees.shape, *problem.sample(SEED, 1).shape[1:]], tf.int32)
        sample = _sample(params, count) if case.method == "sampled" else []
        recipes = [*_drawn(params), *begin, _of_batches(problem, batches), *sample]
        specs = (params, states, batches, *map(_spec, sample))
        step = (evaluation_step if case.method == "evaluation" else training_step)(optimizees, optimizer)

        @tf.function(jit_compile=True, autograph=False)
        def program(*leaves):
            return step(*tf.nest.pack_sequence_as(specs, leaves))

        flat_specs = tf.nest.flatten(specs)
        stablehlo = program.experimental_get_compiler_ir(*flat_specs)(stage="stablehlo_serialized")
        captured = [np.asarray(x) for x in _captured(program.get_concrete_function(*flat_specs))]
        first = len(recipes)
        recipes += [_recipe(x, f"in_{first + i}", arrays) for i, x in enumerate(captured)]
        if count == 1:
            made = [tf.constant(inputs.make(recipe, arrays)) for recipe in recipes[:first]]
            arrays |= {f"out_{i}": np.asarray(x) for i, x in enumerate(tf.nest.flatten(program(*made)))}
    name = f"{case.problem}_{case.optimizer}_{case.method}_{count}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.stablehlo.gz").write_bytes(gzip.compress(stablehlo, mtime=0))
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    size, state_bytes = nest.size(params), sum(x.shape.num_elements() * x.dtype.size for x in tf.nest.flatten(states))
    return {
        **case._asdict(),
        "name": name,
        "num_steps": num_steps,
        "coordinates": size // count,
        "bytes": 2 * state_bytes / size + 12,  # state in and out, gradient in, parameter in and out
        "inputs": recipes,
        "named": _places(problem, optimizer, captured, first),
        "params": [sorted(params).index(key) for key in params],
        "batches": first - 1 - len(sample),
    }


def _params(problem: Problem, count: int) -> dict[str, tf.TensorSpec]:
    """Parameters of K optimizees."""
    leading = [count] if count > 1 else []
    return {name: tf.TensorSpec([*leading, *x.shape], x.dtype) for name, x in shapes_of(problem).items()}


def _drawn(params: dict[str, tf.TensorSpec]) -> list[inputs.Recipe]:
    pairs = enumerate(tf.nest.flatten(params))
    return [{"kind": "normal", "shape": x.shape.as_list(), "seed": 10 + i, "scale": 0.01} for i, x in pairs]


def _states(optimizer: Optimizer, params: dict[str, tf.TensorSpec], arrays: dict) -> tuple[Any, list[inputs.Recipe]]:
    """What `initial_state` returns, as specifications, and as recipes.

    A coordinate-wise rule is asked about a few coordinates only: all begin alike, and many would take gigabytes.
    """
    begin = tf.function(lambda params: optimizer.initial_state(params, SEED), autograph=False)
    found = begin.get_concrete_function(params).structured_outputs
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), found)
    if not optimizer.coordinatewise:
        made = tf.nest.flatten(begin({name: tf.zeros(x.shape) for name, x in params.items()}))
        return specs, [_recipe(x.numpy(), f"state_{i}", arrays) for i, x in enumerate(made)]
    few = tf.nest.flatten(optimizer.initial_state({name: tf.zeros([blocks.SIZE]) for name in params}, SEED))
    values = [np.unique(x) for x in few]
    if any(value.size > 1 for value in values):
        raise ValueError(
            f"Received {optimizer.name}, whose coordinates do not begin alike, expected one where they do."
        )
    leaves = zip(tf.nest.flatten(specs), values, strict=True)
    return specs, [_constant(x.shape.as_list(), value) for x, value in leaves]


def _constant(shape: Sequence[int], value: np.ndarray) -> inputs.Recipe:
    return {"kind": "constant", "shape": list(shape), "dtype": value.dtype.name, "value": value.item()}


def _of_batches(problem: Problem, batches: tf.TensorSpec) -> inputs.Recipe:
    below = problem.data.size if problem.data else 1
    return {"kind": "integers", "shape": batches.shape.as_list(), "dtype": "int32", "seed": 3, "below": below}


def _sample(params: dict[str, tf.TensorSpec], count: int) -> list[inputs.Recipe]:
    """Recipes of the fields of a `Sample`."""
    sizes = nest.sizes(params)
    parts = [Sampled().size({"x": tf.TensorSpec([size])}, count) for size in sizes]
    fields = Sample._fields if count > 1 else Sample._fields[:2]
    return [{"kind": field, "sizes": sizes, "parts": parts, "seed": 4, "count": count} for field in fields]


def _spec(recipe: inputs.Recipe) -> tf.TensorSpec:
    made = inputs.make(recipe, {})
    return tf.TensorSpec(made.shape, made.dtype)


def _captured(concrete) -> list[tf.Tensor]:
    """What the program takes besides its arguments: weights and data, variables by their values."""
    values = {id(variable.handle): variable.value() for variable in concrete.variables}
    return [values.get(id(tensor), tensor) for tensor in concrete.captured_inputs]


def _recipe(value: np.ndarray, name: str, arrays: dict[str, np.ndarray]) -> inputs.Recipe:
    """The shortest recipe of an array."""
    if value.size > 1 and (value == value.flat[0]).all():
        return _constant(value.shape, value.flat[0])
    for known in (IMAGES, LABELS):
        if value.shape == tuple(known["shape"]):
            return known
    arrays[name] = value
    return {"kind": "stored", "name": name}


def _places(problem: Problem, optimizer: Optimizer, captured: list[np.ndarray], first: int) -> dict[str, int]:
    """Name -> number of the argument, of what the JAX program needs besides parameters and minibatches."""
    named = {name: np.asarray(variable.value) for name, variable in optimizer.named_variables.items()}
    if problem.data:
        named |= {"images": inputs.make(IMAGES, {}), "labels": inputs.make(LABELS, {})}
    return {
        name: first + next(i for i, x in enumerate(captured) if x.shape == value.shape and np.array_equal(x, value))
        for name, value in named.items()
    }


def main(values: flags.FlagValues) -> int:
    """Writes all cases, and then what they are."""
    counts = [int(count) for count in values.meta_batch_size]
    found, folder = make_cases(values.problem, values.optimizer, counts), Path(values.output)
    keras.utils.set_random_seed(0)
    problems = {name: PROBLEMS[name]() for name in values.problem}
    optimizers = {name: make_optimizer(name) for name in values.optimizer}
    facts = []
    for case in found:
        facts.append(export(folder, problems[case.problem], optimizers[case.optimizer], case, values.num_steps))
        print(facts[-1]["name"], flush=True)
    (folder / "cases.json").write_text(json.dumps({"commit": provenance()["commit"], "cases": facts}))
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {len(facts)} programs, {size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
