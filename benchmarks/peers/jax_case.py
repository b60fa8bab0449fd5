"""The JAX program as a case of the benchmark: the counterpart of `benchmarks.cases.prepare`.

The images are random, as many and as large as MNIST's: the time does not depend on what they show. A repetition does
what ours does. It draws an optimizee and its minibatches and runs windows one after the other; in meta-training Adam
updates φ after each.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import Case, Settings
from benchmarks.peers import PERCEPTRONS, jax_scan

BATCH_SIZE, NUM_IMAGES = 128, {"training": 60_000, "evaluation": 10_000}


def prepare(case: Case, settings: Settings) -> tuple[Callable[[], float], dict]:
    """The repetition, and facts for the record."""
    hidden, activation = PERCEPTRONS[case.problem]
    rng, size = np.random.default_rng(0), NUM_IMAGES[case.phase]
    images, labels = rng.integers(0, 256, (size, 28, 28, 1), np.uint8), rng.integers(0, 10, size, np.int32)
    network = jax_scan.Network((784, *hidden, 10), activation, jnp.asarray(images), jnp.asarray(labels))
    coordinates = sum((a + 1) * b for a, b in itertools.pairwise(network.sizes))
    device = jax.devices()[0]
    facts = {
        "data": f"drawn images ({size:,})",
        "coordinates": coordinates,
        "device": "cpu" if device.platform == "cpu" else device.device_kind,
        "jax": jax.__version__,
    }
    make = {"training": _training, "evaluation": _evaluation}[case.phase]
    return make(network, coordinates, settings), facts


def start_phi(seed: int = 0) -> dict[str, jax.Array]:
    """Untrained weights."""
    rng, inputs, phi = np.random.default_rng(seed), 2, {}
    for index in range(1, jax_scan.LAYERS + 1):
        rows, gates = inputs + jax_scan.UNITS, 4 * jax_scan.UNITS
        phi[f"lstm_{index}/w_gates"] = rng.normal(size=[rows, gates]) * rows**-0.5
        phi[f"lstm_{index}/b_gates"] = rng.normal(size=[gates]) * rows**-0.5
        inputs = jax_scan.UNITS
    phi |= {"linear/w": rng.normal(size=[inputs, 1]) * inputs**-0.5, "linear/b": np.zeros([1])}
    return {name: jnp.asarray(value, jnp.float32) for name, value in phi.items()}


def _start(key, coordinates):
    return 0.01 * jax.random.normal(key, [coordinates]), jax_scan.initial_states(coordinates)


def _training(network, coordinates, settings: Settings):
    data, length = network[2:], settings.unroll_length

    @jax.jit
    def train(data, phi, moments, number, theta, states, key):
        whole = network._replace(images=data[0], labels=data[1])
        batches = jax.random.randint(key, [length + 1, BATCH_SIZE], 0, len(data[0]))
        (meta_loss, (theta, states, _)), gradient = jax_scan.window(whole, phi, theta, states, batches)
        phi, moments = jax_scan.adam(phi, gradient, moments, number)
        return phi, moments, theta, states, meta_loss

    start = jax.jit(functools.partial(_start, coordinates=coordinates))
    phi = start_phi()
    learner = {"phi": phi, "moments": (jax.tree.map(jnp.zeros_like, phi),) * 2, "number": 0}

    def repetition() -> float:
        keys = jax.random.split(jax.random.key(0), settings.num_steps // length + 1)
        (theta, states), total = start(keys[0]), 0.0
        for key in keys[1:]:
            learner["number"] += 1
            state = (learner["phi"], learner["moments"], learner["number"], theta, states, key)
            learner["phi"], learner["moments"], theta, states, meta_loss = train(data, *state)
            total += meta_loss
        return float(total)

    return repetition


def _evaluation(network, coordinates, settings: Settings):
    phi = start_phi()

    @jax.jit
    def evaluate(data, phi, key):
        whole = network._replace(images=data[0], labels=data[1])
        batches = jax.random.randint(key, [settings.num_steps + 1, BATCH_SIZE], 0, len(data[0]))
        return jax_scan.rollout(whole, phi, *_start(key, coordinates), batches)[-1]

    return lambda: float(evaluate(network[2:], phi, jax.random.key(0)))
