"""Gradients of every size to play to a cell, and the loop that does it."""

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
