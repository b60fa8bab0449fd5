"""What a step on a problem costs beside one of Keras on the same model.

    python -m benchmarks.bench_problems
    python -m benchmarks.bench_problems --problem=mnist_conv,nas --optimizer=Adam,RNNprop

For each problem, in one process and in turn: our compiled unroll with each optimizer, in graph mode and with XLA, and
beside it a compiled Keras step of the twin (benchmarks/twins.py): model, gradient and `keras.optimizers.Adam`
in a `tf.function` that loops over as many minibatches, gathered by index from the same images: `train_on_batch`
without its work on the host. Milliseconds per step are medians over the rounds; `x keras` is the median over the rounds
of the time divided by that of the faster of the two Keras programs. Adam's should stay below 1.5; what a learned
optimizer costs more is its cell. Meant for an idle machine.
"""

import statistics
import time
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import app, flags

from benchmarks import twins
from l2o_tf.cli import console
from l2o_tf.optimizers import Optimizer
from l2o_tf.saving.loading import load_optimizer
from l2o_tf.unrolling import unroll
from problems import Problem, make_problem
from problems.base import make_seed

_FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this script; not on import, since others have some of the same names."""
    flags.DEFINE_list("problem", ["mnist_conv", "cifar_conv", "lenet", "nas"], "Problems that have a twin.")
    flags.DEFINE_list("optimizer", ["Adam"], "Optimizers; Adam is the one that Keras is compared with.")
    flags.DEFINE_integer("num_steps", 20, "Steps per timed call.", lower_bound=1)
    flags.DEFINE_integer("repetitions", 7, "Timed calls of each.", lower_bound=1)
    flags.DEFINE_enum("data", "auto", ["auto", "tfds", "embedded"], "Where images come from.")


SEED = make_seed(0)
MODES = {"graph": False, "XLA": True}


def our_steps(problem: Problem, optimizer: Optimizer, jit_compile: bool, num_steps: int) -> Callable[[], None]:
    """A call that runs an evaluation's window of `num_steps` steps."""
    params, constants = problem.init(SEED)
    batches = problem.sample(SEED, num_steps + 1)
    state = unroll.initial_state(optimizer, params, SEED)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def window(state, batches):
        return unroll.unroll(lambda p, b: problem.loss(p, constants, b), optimizer, state, batches)[1].losses

    return lambda: window(state, batches).numpy()


def keras_steps(problem: Problem, model: keras.Model, jit_compile: bool, num_steps: int) -> Callable[[], None]:
    """A call that trains the twin by Adam for `num_steps` steps."""
    batches = problem.sample(SEED, num_steps)
    adam = keras.optimizers.Adam(0.01)
    adam.build(model.trainable_variables)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def window(batches):
        def step(t, total):
            images, labels = problem.examples(batches[t])
            with tf.GradientTape() as tape:
                logits = model(tf.cast(images, tf.float32) / 255, training=True)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            adam.apply(tape.gradient(loss, [v.value for v in model.trainable_variables]), model.trainable_variables)
            return t + 1, total + loss

        return tf.while_loop(lambda t, _: t < num_steps, step, (0, 0.0), maximum_iterations=num_steps)

    return lambda: window(batches)[1].numpy()


def measure(calls: dict[str, Callable[[], None]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each call, one after the other in each round; the first round, which compiles, is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def rows(problem_name: str, optimizers: list[str], num_steps: int, repetitions: int, data: str) -> list[tuple]:
    """`(method, milliseconds per step, ratio to Keras)` of everything on one problem."""
    problem = make_problem(problem_name, mode="test", data=data)
    calls = {
        f"Keras Adam, {mode}": keras_steps(problem, twins.MODELS[problem_name](), jit, num_steps)
        for mode, jit in MODES.items()
    }
    reference = list(calls)
    for name in optimizers:
        optimizer, _ = load_optimizer(name)
        calls |= {f"{name}, {mode}": our_steps(problem, optimizer, jit, num_steps) for mode, jit in MODES.items()}
    seconds = measure(calls, repetitions)
    best = min((seconds[name] for name in reference), key=statistics.median)
    ratios = {
        name: statistics.median(t / b for t, b in zip(times, best, strict=True)) for name, times in seconds.items()
    }
    return [(name, 1e3 * statistics.median(seconds[name]) / num_steps, ratios[name]) for name in calls]


def main() -> None:
    """Prints a table per problem."""
    unknown = [name for name in _FLAGS.problem if name not in twins.MODELS]
    if unknown:
        raise ValueError(f"Received problems {unknown}, expected some of {', '.join(twins.MODELS)}.")
    print(f"{'problem':18}{'method':28}{'ms/step':>9}{'x keras':>9}")
    for name in _FLAGS.problem:
        for method, milliseconds, ratio in rows(
            name, _FLAGS.optimizer, _FLAGS.num_steps, _FLAGS.repetitions, _FLAGS.data
        ):
            print(f"{name:18}{method:28}{milliseconds:9.2f}{ratio:9.2f}", flush=True)


if __name__ == "__main__":
    define_flags()
    app.run(lambda rest: console.guarded(main, rest))
