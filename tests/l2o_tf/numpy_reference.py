"""L2O-DM and RNNprop, their unroll and their meta-gradient in NumPy, from the equations alone.

Nothing here knows TensorFlow or the code under test. Precision is that of the arrays that go in. The backward pass is
written out by hand. It is "first order": gradients of the optimizee count as constants.

Weights are a dict with the names of the released files: `lstm_1/w_gates`, `lstm_1/b_gates`, ..., `linear/b`. A state is
a list `[h_1, c_1, h_2, c_2, ...]`, each `[N, H]`; RNNprop has `[m, v, t]`, each `[N, 1]`, in front of it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LossAndGrad = Callable[[np.ndarray, int], tuple[float, np.ndarray]]
"""`(theta [N], t) -> (f_t(theta), its gradient [N])`."""


def sigmoid(x):
    return np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1.0 + np.exp(-np.abs(x)))


def log_and_sign(g, k=5.0):
    """`[N] -> [N, 2]`."""
    magnitude = np.log(np.abs(g) + g.dtype.type(2.0**-23))
    return np.stack([np.maximum(magnitude / k, -1.0), np.minimum(np.maximum(g * np.exp(k), -1.0), 1.0)], axis=1).astype(
        g.dtype
    )


def identity(g):
    return g[:, None]


def clamp(g):
    return np.minimum(np.maximum(g, -1.0), 1.0)[:, None]


def random_weights(rng, layers=(20, 20), features=2, spread=1.0, dtype=np.float32, projection=0):
    """Normal weights of standard deviation `spread / sqrt(rows)`; every one of them, biases too, differs from zero.

    With a `projection`, weights of RNNprop.
    """
    shapes = {"input_projection/w": (features, projection), "input_projection/b": (projection,)} if projection else {}
    inputs = projection or features
    for index, units in enumerate(layers, start=1):
        shapes[f"lstm_{index}/w_gates"] = (inputs + units, 4 * units)
        shapes[f"lstm_{index}/b_gates"] = (4 * units,)
        inputs = units
    shapes |= {"linear/w": (inputs, 1), "linear/b": (1,)}
    return {
        key: rng.normal(scale=spread / np.sqrt(shape[0]), size=shape).astype(dtype) for key, shape in shapes.items()
    }


def num_layers(weights):
    return sum(name.endswith("w_gates") for name in weights)


def zero_state(weights, size):
    widths = [weights[f"lstm_{i + 1}/b_gates"].shape[0] // 4 for i in range(num_layers(weights))]
    memory = [1, 1, 1] if "input_projection/w" in weights else []
    return [np.zeros([size, width], weights["linear/w"].dtype) for width in memory + [w for w in widths for _ in "hc"]]


def lstm_step(weights, layer, x, h, c):
    """One layer, and what its backward pass needs."""
    inputs = np.concatenate([x, h], axis=1)
    i, j, f, o = np.split(inputs @ weights[f"lstm_{layer}/w_gates"] + weights[f"lstm_{layer}/b_gates"], 4, axis=1)
    i, j, f, o = sigmoid(i), np.tanh(j), sigmoid(f + 1.0), sigmoid(o)
    c_new = f * c + i * j
    return o * np.tanh(c_new), c_new, (inputs, i, j, f, o, c, c_new)


def stack_step(weights, x, state):
    """All layers: `(x, state, caches)`."""
    new_state, caches = [], []
    for layer in range(num_layers(weights)):
        x, c, cache = lstm_step(weights, layer + 1, x, *state[2 * layer : 2 * layer + 2])
        new_state += [x, c]
        caches.append(cache)
    return x, new_state, caches


def stack_backward(weights, top, caches, d_output, d_state):
    """Cotangents of `(output [N, 1], new state)` to `(weight gradients, cotangents of the inputs and old state)`."""
    grads = {"linear/w": top.T @ d_output, "linear/b": d_output.sum(axis=0)}
    d_x, d_old = d_output @ weights["linear/w"].T, list(d_state)
    for layer in reversed(range(num_layers(weights))):
        inputs, i, j, f, o, c, c_new = caches[layer]
        d_h, d_c = d_x + d_state[2 * layer], d_state[2 * layer + 1]
        d_c = d_c + d_h * o * (1.0 - np.tanh(c_new) ** 2)
        d_gates = np.concatenate(
            [d_c * j * i * (1 - i), d_c * i * (1 - j**2), d_c * c * f * (1 - f), d_h * np.tanh(c_new) * o * (1 - o)],
            axis=1,
        )
        grads[f"lstm_{layer + 1}/w_gates"] = inputs.T @ d_gates
        grads[f"lstm_{layer + 1}/b_gates"] = d_gates.sum(axis=0)
        d_inputs = d_gates @ weights[f"lstm_{layer + 1}/w_gates"].T
        split = inputs.shape[1] - c.shape[1]
        d_x, d_old[2 * layer], d_old[2 * layer + 1] = d_inputs[:, :split], d_inputs[:, split:], d_c * f
    return grads, d_x, d_old


def dm_step(weights, g, state, scale=0.01, preprocess=log_and_sign):
    """`(delta [N], state, cache)` of one step of L2O-DM on the gradients `g [N]`."""
    x, new_state, caches = stack_step(weights, preprocess(g), state)
    return scale * (x @ weights["linear/w"] + weights["linear/b"])[:, 0], new_state, (x, caches, scale)


def dm_step_backward(weights, cache, d_delta, d_state):
    """Cotangents of `(delta, new state)` to `(dict of weight gradients, cotangent of the old state)`."""
    top, caches, scale = cache
    grads, _, d_old = stack_backward(weights, top, caches, scale * d_delta[:, None], d_state)
    return grads, d_old


def rnnprop_step(weights, g, state, scale=0.01, beta_1=0.95, beta_2=0.95, epsilon=1e-8, order="mg"):
    """The same for RNNprop."""
    g = g[:, None]
    m, v, t = beta_1 * state[0] + (1 - beta_1) * g, beta_2 * state[1] + (1 - beta_2) * g * g, state[2] + 1
    root = np.sqrt(v / (1 - beta_2**t)) + epsilon
    features = {"m": m / (1 - beta_1**t) / root, "g": g / root}
    pair = np.concatenate([features[name] for name in order], axis=1).astype(g.dtype)
    z = pair @ weights["input_projection/w"] + weights["input_projection/b"]
    x, new_state, caches = stack_step(weights, np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1), state[3:])
    output = np.tanh(x @ weights["linear/w"] + weights["linear/b"])
    return scale * output[:, 0], [m, v, t, *new_state], (x, caches, scale, output, pair, z)


def rnnprop_step_backward(weights, cache, d_delta, d_state):
    """The same for RNNprop; nothing comes back to the moments, since gradients count as constants."""
    top, caches, scale, output, pair, z = cache
    d_output = scale * d_delta[:, None] * (1 - output**2)
    grads, d_x, d_old = stack_backward(weights, top, caches, d_output, d_state[3:])
    d_z = d_x * np.where(z > 0, 1, np.exp(np.minimum(z, 0)))
    grads |= {"input_projection/w": pair.T @ d_z, "input_projection/b": d_z.sum(axis=0)}
    return grads, [*d_state[:3], *d_old]


class Rule(NamedTuple):
    """One step of an architecture, and its backward pass."""

    step: Callable
    backward: Callable


DM = Rule(dm_step, dm_step_backward)
RNNPROP = Rule(rnnprop_step, rnnprop_step_backward)


def backpropagate(weights, caches, d_deltas, state, rule=DM):
    """Weight gradients of a whole window, given the cotangent of every delta."""
    total = {key: np.zeros_like(value) for key, value in weights.items()}
    d_state = [np.zeros_like(value) for value in state]
    for cache, d_delta in zip(reversed(caches), reversed(d_deltas), strict=True):
        grads, d_state = rule.backward(weights, cache, d_delta, d_state)
        total = {key: total[key] + grads[key] for key in total}
    return total


def play(weights, inputs, state, rule=DM, **options):
    """Runs the cell on given gradients `[T, N]`: `(deltas [T, N], state, caches)`."""
    deltas, caches = [], []
    for g in inputs:
        delta, state, cache = rule.step(weights, g, state, **options)
        deltas.append(delta)
        caches.append(cache)
    return np.stack(deltas), state, caches


def unroll(loss_and_grad: LossAndGrad, weights, theta, state, steps, others=None, rule=DM, **options):
    """`steps` updates from `theta [N]`: a dict of `losses`, `grads` (both T+1), `thetas`, `deltas`, `state`, `caches`.

    `others` maps a step to the update that somebody else makes there in place of the network.
    """
    losses, grads, thetas, deltas, caches = [], [], [theta], [], []
    for t in range(steps):
        loss, g = loss_and_grad(theta, t)
        delta, state, cache = rule.step(weights, g, state, **options)
        theta = theta + (others[t](g) if others and t in others else delta)
        for values, value in zip((losses, grads, thetas, deltas, caches), (loss, g, theta, delta, cache), strict=True):
            values.append(value)
    loss, g = loss_and_grad(theta, steps)
    return {
        "losses": np.array([*losses, loss]),
        "grads": np.stack([*grads, g]),
        "thetas": np.stack(thetas),
        "deltas": np.stack(deltas),
        "state": state,
        "caches": caches,
    }


def meta_gradient(weights, run, state, others=(), rule=DM):
    """`d sum_t f_t(theta_t) / d weights` of what `unroll` returned: `delta_t` moves all later iterates alike."""
    later = np.cumsum(run["grads"][::-1], axis=0)[::-1][1:]
    mask = np.array([t not in others for t in range(len(later))], later.dtype)
    return backpropagate(weights, run["caches"], later * mask[:, None], state, rule)


def imitation(weights, inputs, labels, state, rule=DM, **options):
    """`(loss, weight gradients, state)` of `sum_t 1/2 mean_n (label - delta)^2`."""
    deltas, after, caches = play(weights, inputs, state, rule, **options)
    loss = sum(0.5 * np.mean((label - delta) ** 2) for label, delta in zip(labels, deltas, strict=True))
    return loss, backpropagate(weights, caches, (deltas - labels) / labels.shape[1], state, rule), after


class Adam:
    """Adam in the form of TensorFlow 1: bias correction in the step size, epsilon outside of it."""

    def __init__(self, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.t, self.m, self.v = 0, 0.0, 0.0

    def __call__(self, g):
        """The update for gradient `g`."""
        self.t += 1
        self.m = self.beta_1 * self.m + (1.0 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1.0 - self.beta_2) * g * g
        size = self.learning_rate * np.sqrt(1.0 - self.beta_2**self.t) / (1.0 - self.beta_1**self.t)
        return -size * self.m / (np.sqrt(self.v) + self.epsilon)


def perceptron(x, y, sizes, theta):
    """`(loss, gradient [N])` of a sigmoid network `x -> hidden -> classes` with mean cross-entropy."""
    inputs, hidden, classes = sizes
    w1, b1, w2, b2 = np.split(theta, np.cumsum([inputs * hidden, hidden, hidden * classes]))
    w1, w2 = w1.reshape(inputs, hidden), w2.reshape(hidden, classes)
    h = sigmoid(x @ w1 + b1)
    logits = h @ w2 + b2
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    d_logits = (np.exp(log_p) - np.eye(classes)[y]) / len(y)
    d_hidden = d_logits @ w2.T * h * (1 - h)
    parts = (x.T @ d_hidden, d_hidden.sum(axis=0), h.T @ d_logits, d_logits.sum(axis=0))
    return -log_p[rows, y].mean(), np.concatenate([part.ravel() for part in parts])
