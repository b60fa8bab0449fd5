"""Gradients of every size to play to a cell, the loop that does it, and what cells of LSTMs have in common."""

import numpy as np
import tensorflow as tf


def gradients(steps=30, seed=0):
    """`[steps, 48]`: magnitudes 1e-12 ... 1e3 of either sign, of fixed sign, zeros, a spike, growing, decaying."""
    rng = np.random.default_rng(seed)
    sizes = np.logspace(-12, 3, 16)
    groups = [
        sizes * rng.choice([-1, 1], size=[steps, 16]),
        np.tile(-sizes, [steps, 1]),
        np.exp(rng.uniform(np.log(1e-12), np.log(1e3), size=[steps, 8])) * rng.choice([-1, 0, 1], size=[steps, 8]),
        np.zeros([steps, 2]),
        np.where(np.arange(steps)[:, None] == 5, [1e3, -1e3], 0.0),
        1e-3 * 1.4 ** np.arange(steps)[:, None] * [1, -1],
        1e3 * 0.5 ** np.arange(steps)[:, None] * [1, -1],
    ]
    return np.concatenate(groups, axis=1).astype(np.float32)


def run(cell, inputs):
    """Deltas `[T, N]` and final states of a plain loop over `inputs [T, N]`."""
    state, deltas = cell.get_initial_state(batch_size=inputs.shape[1]), []
    for g in inputs:
        delta, state = cell(tf.constant(g[:, None]), state)
        deltas.append(delta[:, 0].numpy())
    return np.stack(deltas), [value.numpy() for value in state]


def assert_gates(cell, inputs, states, caches):
    """What the cell shows of its gates is what the reference has cached of each layer."""
    found = cell.diagnose(tf.constant(inputs)[:, None], [tf.constant(value) for value in states])
    for layer, (_, i, _, f, o, _, _) in enumerate(caches, start=1):
        for name, gate in {"input": i, "forget": f, "output": o}.items():
            np.testing.assert_allclose(found.pop(f"gates/lstm_{layer}/{name}"), gate, atol=1e-5)
    assert not found


def assert_truncated_normal(drawn, stddevs):
    """Weights of several seeds: normal, cut at two of `stddevs` by name, which is 0 for zeros."""
    for name, stddev in stddevs.items():
        values = np.concatenate([weights[name].numpy().ravel() for weights in drawn])
        tolerance = 3 / np.sqrt(values.size)
        assert np.abs(values).max() <= 2 * stddev * (1 + 1e-6)
        np.testing.assert_allclose(values.std(), 0.8796 * stddev, rtol=tolerance, err_msg=name)
        assert abs(values.mean()) <= tolerance * stddev
