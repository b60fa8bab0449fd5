"""L2O-DM in google/learned_optimization (JAX): its `TruncatedGrad`, and a step of Adam on φ after each window.

    python3 -m venv /tmp/peer
    /tmp/peer/bin/pip install jax==0.10.2 numpy flax dm-haiku optax gin-config absl-py tqdm
    /tmp/peer/bin/pip install --no-deps learned-optimization==0.0.1
    /tmp/peer/bin/python -m benchmarks.peers.truncated_grad --num_tasks=1,4

Prints milliseconds per step and task, beside which the rows `jax` and `ours-xla` of `python -m benchmarks.bench_unroll`
stand. Cell and optimizee are those of `jax_scan`, the fastest form that we know, with its images on the device; what is
compared is the framework around them.

No part of `make bench`: the release of 2022 asks for packages that are no longer on PyPI (dm-launchpad-nightly), and
for names that JAX has since moved. So it is installed without its dependencies, and `stand_in` puts the old names back
and an empty module in the place of those that only read data or write logs.
"""

import argparse
import itertools
import statistics
import sys
import time
import types
from unittest import mock

import jax
import jax.lib
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import jax_case, jax_scan

SIZES = (784, 20, 10)
NUM_IMAGES, BATCH_SIZE, UNROLL_LENGTH, NUM_STEPS = 60_000, 128, 20, 100
UNUSED = ("tensorflow", "tensorflow.compat", "tensorflow.compat.v2", "tensorflow_datasets")
LOGGING = ("flax.metrics", "flax.metrics.tensorboard", "flax.training.checkpoints")


def stand_in() -> None:
    """What learned-optimization 0.0.1 imports and JAX, or this environment, no longer has."""
    import flax.training  # before the empty TensorFlow, for which it looks

    del flax
    sys.modules.update((name, mock.MagicMock()) for name in (*UNUSED, *LOGGING))
    for name in ("leaves", "flatten", "unflatten", "structure", "map"):
        setattr(jax, f"tree_{name}", getattr(jax.tree_util, f"tree_{name}"))
    jax.tree_multimap = jax.tree_util.tree_map
    jax.ShapedArray = jax.core.ShapedArray
    jax.lib.xla_client = types.SimpleNamespace(Device=object)


def make_task():
    """MLP-orig with drawn images as its task; and the number of coordinates."""
    from learned_optimization.tasks import base as tasks

    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (NUM_IMAGES, 28, 28, 1), np.uint8))
    network = jax_scan.Network(SIZES, "sigmoid", images, jnp.asarray(rng.integers(0, 10, NUM_IMAGES, np.int32)))
    size = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(SIZES))

    class Perceptron(tasks.Task):
        def init(self, key):
            return 0.01 * jax.random.normal(key, [size])

        def loss(self, params, key, data):
            del data
            return jax_scan.loss(network, params, jax.random.randint(key, [BATCH_SIZE], 0, NUM_IMAGES))

    return Perceptron(), size


def make_optimizer(cell, size: int):
    """L2O-DM as its learned optimizer. The state is `(θ, states of the cell)`; gradients count as constants."""
    from learned_optimization.learned_optimizers import base as learned
    from learned_optimization.optimizers import base as optimizers

    class Step(optimizers.Optimizer):
        def __init__(self, phi):
            self.phi = phi

        def init(self, params, model_state=None, num_steps=None, key=None):
            del model_state, num_steps, key
            return params, jax_scan.initial_states(size)

        def update(self, opt_state, grad, loss=None, model_state=None, key=None, **unused):
            del loss, model_state, key, unused
            theta, states = opt_state
            update, states = cell(self.phi, jax.lax.stop_gradient(grad), states)
            return theta + update, states

        def get_params(self, state):
            return state[0]

        def get_state(self, state):
            del state

    class DM(learned.LearnedOptimizer):
        def init(self, key):
            del key
            return jax_case.start_phi()

        def opt_fn(self, theta, is_training=False):
            del is_training
            return Step(theta)

    return DM()


def make_learner(num_tasks: int, recompute: bool):
    """Its learner with `num_tasks` optimizees at a time; `recompute` the cell in the backward pass, or store it."""
    from learned_optimization.optimizers import base as optimizers
    from learned_optimization.outer_trainers import gradient_learner, truncated_grad, truncation_schedule
    from learned_optimization.tasks import base as tasks

    task, size = make_task()
    optimizer = make_optimizer(jax.checkpoint(jax_scan.cell) if recompute else jax_scan.cell, size)
    estimator = truncated_grad.TruncatedGrad(
        tasks.single_task_to_family(task),
        optimizer,
        truncation_schedule.ConstantTruncationSchedule(NUM_STEPS),
        num_tasks=num_tasks,
        unroll_length=UNROLL_LENGTH,
        steps_per_jit=UNROLL_LENGTH,
    )
    return gradient_learner.SingleMachineGradientLearner(optimizer, [estimator], optimizers.Adam(1e-3))


def measure(num_tasks: int, recompute: bool, repetitions: int) -> float:
    """Milliseconds per step and task, the median over repetitions of `NUM_STEPS` steps, after one that compiles."""
    learner = make_learner(num_tasks, recompute)
    state, seconds = learner.init(jax.random.PRNGKey(0)), []
    for repetition in range(repetitions + 1):
        begin = time.perf_counter()
        for window in range(NUM_STEPS // UNROLL_LENGTH):
            state, loss, _ = learner.update(state, jax.random.PRNGKey(repetition * NUM_STEPS + window))
        if not np.isfinite(float(loss)):
            raise ValueError("Received a loss that is not finite: nothing to measure.")
        seconds.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(seconds[1:]) / NUM_STEPS / num_tasks


def main() -> None:
    """Reads the command line and prints a line per number of tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_tasks", default="1,4", help="optimizees side by side, separated by commas; default 1,4")
    parser.add_argument("--repetitions", type=int, default=5, help="of 100 steps each; default 5")
    options = parser.parse_args()
    stand_in()
    for num_tasks in map(int, options.num_tasks.split(",")):
        for recompute in (True, False):
            time_per_step = measure(num_tasks, recompute, options.repetitions)
            print(f"{num_tasks} tasks, cell {'recomputed' if recompute else 'stored'}: {time_per_step:.2f} ms")


if __name__ == "__main__":
    main()
