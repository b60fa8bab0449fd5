"""A learned optimizer in Keras beside the unroll's step and Keras's Adam: time and memory.

    python -m benchmarks.bench_keras
    python -m benchmarks.bench_keras --coordinates=10000000 --optimizer=RNNprop --state_dtype=bfloat16

Two tables, each with XLA and without. `apply`: one step on gradients that are there already, on a model of one tensor;
beside it a step of the unroll on an optimizee of the same size that costs next to nothing (`benchmarks.cases.bowl`).
`fit`: a whole step of `model.fit` on a perceptron of 100,180 parameters with minibatches of 128. What a row compares
takes turns in one process; times are medians. `state MiB` is the size of `optimizer.variables`. `peak MiB` is by how
much the largest memory of a process of its own grows while the optimizer is built and makes two steps, which includes
what compilers need.
"""

import concurrent.futures
import multiprocessing
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.bench_scaling import medians
from benchmarks.cases import EVALUATIONS, bowl
from benchmarks.worker import high_water_mib, reset_high_water
from l2o_tf.cli import console
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer

ADAM = "Adam"
UNROLLED, BATCHES, BATCH = 10, 30, 128
"""Steps of a repetition of the unroll, and of `fit`; size of a minibatch."""


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_list("coordinates", ["1000000"], "Sizes of the model, in coordinates.", flag_values=values)
    text = "Learned optimizers, as for evaluate.py."
    flags.DEFINE_list("optimizer", ["L2O-DM", "RNNprop", "L2O-Scale-Meta"], text, flag_values=values)
    flags.DEFINE_integer("repetitions", 5, "Timed steps of each.", lower_bound=1, flag_values=values)
    flags.DEFINE_string("state_dtype", "float32", "As of LearnedOptimizer.", flag_values=values)


def make(name: str, state_dtype: str) -> keras.optimizers.Optimizer:
    """Keras's Adam, or a learned optimizer."""
    return keras.optimizers.Adam() if name == ADAM else LearnedOptimizer(name, state_dtype=state_dtype)


def make_step(optimizer: keras.optimizers.Optimizer, coordinates: int, jit_compile: bool) -> Callable[[], float]:
    """A call that makes one step on a model of one tensor."""
    model = keras.Variable(tf.zeros([coordinates]))
    gradient = tf.random.stateless_normal([coordinates], [0, 1])
    optimizer.build([model])
    step = tf.function(lambda: optimizer.apply([gradient], [model]), jit_compile=jit_compile, autograph=False)
    step = step.get_concrete_function()

    def call():
        step()
        return float(model.value[0])

    return call


def mebibytes(optimizer: keras.optimizers.Optimizer) -> float:
    """Size of the state."""
    return sum(v.value.shape.num_elements() * v.value.dtype.size for v in optimizer.variables) / 2**20


def peak(name: str, state_dtype: str, coordinates: int, jit_compile: bool) -> tuple[float, float]:
    """`(MiB of the state, MiB of the peak)` in this process."""
    optimizer = make(name, state_dtype)
    reset_high_water()
    before = high_water_mib()
    step = make_step(optimizer, coordinates, jit_compile)
    step(), step()
    return mebibytes(optimizer), high_water_mib() - before


def in_a_process(function: Callable, *arguments):
    """What the function returns in a new process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def steps(name: str, state_dtype: str, coordinates: int, jit_compile: bool, repetitions: int) -> dict[str, float]:
    """Nanoseconds per coordinate of a step of `apply` with the learned optimizer and with Adam, and of the unroll."""
    optimizers = {each: make(each, state_dtype) for each in (name, ADAM)}
    calls = {each: make_step(optimizer, coordinates, jit_compile) for each, optimizer in optimizers.items()}
    learned = optimizers[name].learned
    calls["unroll"] = EVALUATIONS["ours"](bowl(coordinates), learned, UNROLLED, jit_compile=jit_compile)
    found = medians(calls, repetitions)
    found["unroll"] /= UNROLLED
    return {each: 1e6 * ms / coordinates for each, ms in found.items()}


def fits(name: str, state_dtype: str, jit_compile: bool, repetitions: int) -> dict[str, float]:
    """Milliseconds of a step of `fit` with the learned optimizer and with Adam."""
    random = np.random.default_rng(0)
    x = random.normal(size=[BATCHES * BATCH, 784]).astype(np.float32)
    y = random.integers(10, size=len(x))
    calls = {}
    for each in (name, ADAM):
        layers = [keras.layers.Dense(126, "relu"), keras.layers.Dense(10)]
        model = keras.Sequential([keras.Input([784]), *layers])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(make(each, state_dtype), loss, jit_compile=jit_compile)
        calls[each] = lambda model=model: model.fit(x, y, batch_size=BATCH, verbose=0).history["loss"][0]
    return {each: ms / BATCHES for each, ms in medians(calls, repetitions).items()}


def main(values: flags.FlagValues) -> int:
    """Prints the tables."""
    dtype, repetitions = values.state_dtype, values.repetitions
    for name in values.optimizer:
        LearnedOptimizer(name, state_dtype=dtype)  # reports a wrong name before anything is measured
    columns = ("ns/coord", "unroll", "Adam", "x unroll", "x Adam", "state MiB", "peak MiB")
    print(f"{'apply':>12}  {'optimizer':16}{'XLA':>5}" + "".join(f"{column:>11}" for column in columns))
    for size in map(int, values.coordinates):
        for name in values.optimizer:
            for xla in (True, False):
                case = name, dtype, size, xla
                ns = steps(*case, repetitions)
                ours, unroll, adam = ns[name], ns["unroll"], ns[ADAM]
                cells = f"{ours:11.1f}{unroll:11.1f}{adam:11.1f}{ours / unroll:11.2f}{ours / adam:11.1f}"
                cells += "".join(f"{mib:11.1f}" for mib in in_a_process(peak, *case))
                print(f"{size:12,}  {name:16}{'on' if xla else 'off':>5}{cells}", flush=True)
    print(f"\n{'fit':>12}  {'optimizer':16}{'XLA':>5}{'ms/step':>11}{'Adam':>11}{'x Adam':>11}")
    for name in values.optimizer:
        for xla in (True, False):
            ours, adam = fits(name, dtype, xla, repetitions).values()
            cells = f"{ours:11.2f}{adam:11.2f}{ours / adam:11.2f}"
            print(f"{100_180:12,}  {name:16}{'on' if xla else 'off':>5}{cells}", flush=True)
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
