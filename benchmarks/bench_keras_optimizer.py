"""Step time and memory of a learned optimizer in Keras, beside Keras's Adam.

    python -m benchmarks.bench_keras_optimizer
    python -m benchmarks.bench_keras_optimizer --coordinates=10000000 --optimizer=RNNprop

A step is `optimizer.apply` on gradients that are there already, compiled: the model's own cost is in neither. Both
take turns in one process; milliseconds are medians over the rounds. State is the size of `optimizer.variables`. Peak is
that of the process while the learned optimizer's program runs for the first time, above what it was before.
"""

import resource
import statistics
import time

import keras
import tensorflow as tf
from absl import app, flags

from l2o_tf.cli import console
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer

_FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this script; not on import, since others have some of the same names."""
    flags.DEFINE_list("coordinates", ["1000000"], "Sizes of the model, in coordinates.")
    flags.DEFINE_list("optimizer", ["L2O-DM", "RNNprop"], "Learned optimizers, as for evaluate.py.")
    flags.DEFINE_integer("repetitions", 5, "Timed steps of each.", lower_bound=1)
    flags.DEFINE_boolean("jit_compile", False, "Compile with XLA.")


def make_step(optimizer: keras.optimizers.Optimizer, coordinates: int, jit_compile: bool):
    """A call that makes one step on a model of one tensor."""
    model = keras.Variable(tf.zeros([coordinates]))
    gradient = tf.random.stateless_normal([coordinates], [0, 1])
    optimizer.build([model])
    step = tf.function(lambda: optimizer.apply([gradient], [model]), jit_compile=jit_compile, autograph=False)

    def call():
        step()
        return float(model.value[0])

    return call


def mebibytes(optimizer: keras.optimizers.Optimizer) -> float:
    """Size of the state."""
    return sum(v.value.shape.num_elements() * v.value.dtype.size for v in optimizer.variables) / 2**20


def peak() -> float:
    """Largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(name: str, coordinates: int, repetitions: int, jit_compile: bool) -> list[tuple]:
    """`(optimizer, milliseconds, ratio to Adam, MiB of state, MiB of peak)` of Adam and the learned one."""
    optimizers = {"Keras Adam": keras.optimizers.Adam(), name: LearnedOptimizer(name)}
    calls, peaks = {}, {}
    for label, optimizer in optimizers.items():
        before = peak()
        calls[label] = make_step(optimizer, coordinates, jit_compile)
        calls[label]()
        peaks[label] = peak() - before
    seconds = {label: [] for label in calls}
    for _ in range(repetitions):
        for label, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[label].append(time.perf_counter() - start)
    medians = {label: statistics.median(times) for label, times in seconds.items()}
    return [
        (label, 1e3 * medians[label], medians[label] / medians["Keras Adam"], mebibytes(optimizer), peaks[label])
        for label, optimizer in optimizers.items()
    ]


def main() -> None:
    """Prints a table."""
    for name in _FLAGS.optimizer:
        LearnedOptimizer(name)  # an error is told now
    print(f"{'coordinates':>12}  {'optimizer':16}{'ms/step':>10}{'x Adam':>9}{'state MiB':>11}{'peak MiB':>10}")
    for size in map(int, _FLAGS.coordinates):
        for name in _FLAGS.optimizer:
            for label, ms, ratio, state, most in compare(name, size, _FLAGS.repetitions, _FLAGS.jit_compile):
                print(f"{size:12,}  {label:16}{ms:10.2f}{ratio:9.1f}{state:11.1f}{most:10.0f}", flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(lambda rest: console.guarded(main, rest))
