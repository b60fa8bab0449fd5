"""Step time and memory of a learned optimizer in Keras, beside Keras's Adam.

    python -m benchmarks.bench_keras
    python -m benchmarks.bench_keras --coordinates=10000000 --optimizer=RNNprop

A step is `optimizer.apply` on gradients that are there already, compiled, so that it does not include the model's own
cost. Both take turns in one process; milliseconds are medians. `state MiB` is the size of `optimizer.variables`. `peak
MiB` is the growth of the process's largest memory while the optimizer's program runs for the first time.
"""

import keras
import tensorflow as tf
from absl import flags

from benchmarks.bench_scaling import medians
from benchmarks.worker import high_water_mib
from l2o_tf.cli import console
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this command."""
    flags.DEFINE_list("coordinates", ["1000000"], "Sizes of the model, in coordinates.", flag_values=values)
    text = "Learned optimizers, as for evaluate.py."
    flags.DEFINE_list("optimizer", ["L2O-DM", "RNNprop"], text, flag_values=values)
    flags.DEFINE_integer("repetitions", 5, "Timed steps of each.", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean("jit_compile", False, "Compile with XLA.", flag_values=values)


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


def compare(name: str, coordinates: int, repetitions: int, jit_compile: bool) -> list[tuple]:
    """`(optimizer, milliseconds, ratio to Adam, MiB of state, MiB of peak)` of Adam and the learned one."""
    optimizers = {"Keras Adam": keras.optimizers.Adam(), name: LearnedOptimizer(name)}
    calls, peaks = {}, {}
    for label, optimizer in optimizers.items():
        before = high_water_mib()
        calls[label] = make_step(optimizer, coordinates, jit_compile)
        calls[label]()
        peaks[label] = high_water_mib() - before
    found = medians(calls, repetitions)
    return [
        (label, found[label], found[label] / found["Keras Adam"], mebibytes(optimizer), peaks[label])
        for label, optimizer in optimizers.items()
    ]


def main(values: flags.FlagValues) -> int:
    """Prints a table."""
    for name in values.optimizer:
        LearnedOptimizer(name)  # reports a wrong name before anything is measured
    print(f"{'coordinates':>12}  {'optimizer':16}{'ms/step':>10}{'x Adam':>9}{'state MiB':>11}{'peak MiB':>10}")
    for size in map(int, values.coordinates):
        for name in values.optimizer:
            for label, ms, ratio, state, most in compare(name, size, values.repetitions, values.jit_compile):
                print(f"{size:12,}  {label:16}{ms:10.2f}{ratio:9.1f}{state:11.1f}{most:10.0f}", flush=True)
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
