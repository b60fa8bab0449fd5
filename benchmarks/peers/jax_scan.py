"""L2O-DM on a perceptron as a JAX programmer would write it by hand: one `lax.scan`, one `jax.grad`.

It computes what `l2o_tf.unrolling` computes with the cell of L2O-DM: the first-order meta-gradient of a window of T
steps, and plain steps for evaluation. The gradients g_t are constants. The loss enters the meta-loss through
`linearised`, whose derivative is the known g_t, so that the optimizee is differentiated once per step.

This is the fastest form on a CPU that we found: states are columns `[H, N]`, one `tanh` computes all nonlinearities of
the gates, and `jax.checkpoint` wraps the cell (without it the scan stores every intermediate array and takes twice as
long). A gradient of the cell written by hand was not faster than JAX's own. Weights have the names and shapes of
`DMCell`.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

UNITS, LAYERS, K, SCALE, BETAS = 20, 2, 5.0, 0.01, (0.9, 0.999)
EPSILON = float(np.finfo(np.float32).eps)


class Network(NamedTuple):
    """The optimizee: widths of its layers, its activation, and its data on the device."""

    sizes: tuple[int, ...]
    activation: str
    images: jax.Array
    labels: jax.Array


def unflatten(vector, sizes):
    """`[N] -> [(w_1, b_1), (w_2, b_2), ...]`."""
    layers, at = [], 0
    for inputs, outputs in itertools.pairwise(sizes):
        middle, end = at + inputs * outputs, at + (inputs + 1) * outputs
        layers.append((vector[at:middle].reshape(inputs, outputs), vector[middle:end]))
        at = end
    return layers


def loss(network: Network, theta, batch):
    """Mean cross-entropy of a minibatch; `batch [B]` are indices."""
    *hidden, (w, b) = unflatten(theta, network.sizes)
    x = network.images[batch].reshape(len(batch), -1).astype(jnp.float32) / 255
    for w_hidden, b_hidden in hidden:
        x = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[network.activation](x @ w_hidden + b_hidden)
    scores = jax.nn.log_softmax(x @ w + b)
    return -jnp.mean(jnp.take_along_axis(scores, network.labels[batch][:, None], axis=1))


def features(g):
    """LogAndSign: `[N] -> [2, N]`."""
    log = jnp.log(jnp.abs(g) + EPSILON) / K
    return jnp.stack([jnp.maximum(log, -1.0), jnp.clip(g * np.float32(np.exp(K)), -1.0, 1.0)])


def cell(phi, g, states):
    """`(Δθ [N], states)`; states are `[(h_1, c_1), (h_2, c_2)]`, each `[H, N]`."""
    x, after = features(g), []
    half = np.repeat(np.array([0.5, 1.0, 0.5, 0.5], np.float32), UNITS)  # σ(a) = 1/2 + 1/2 tanh(a/2)
    forget = np.repeat(np.array([0.0, 0.0, 1.0, 0.0], np.float32), UNITS)
    for index, (h, c) in enumerate(states, start=1):
        w, b = phi[f"lstm_{index}/w_gates"], phi[f"lstm_{index}/b_gates"]
        gates = jnp.tanh((half * w).T @ jnp.concatenate([x, h]) + (half * (b + forget))[:, None])
        i, j, f, o = jnp.split(gates, 4)
        c = (0.5 + 0.5 * f) * c + (0.5 + 0.5 * i) * j
        x = (0.5 + 0.5 * o) * jnp.tanh(c)
        after.append((x, c))
    return SCALE * (phi["linear/w"].T @ x + phi["linear/b"][:, None])[0], after


def initial_states(size: int):
    """States before the first step."""
    return [(jnp.zeros([UNITS, size]), jnp.zeros([UNITS, size])) for _ in range(LAYERS)]


@jax.custom_vjp
def linearised(theta, value, g):
    """The known loss at θ, whose derivative is the known `g`."""
    del theta, g
    return value


linearised.defvjp(lambda theta, value, g: (value, g), lambda g, cotangent: (cotangent * g, None, None))


def window(network: Network, phi, theta, states, batches):
    """`((meta-loss, (θ_T, states, losses [T+1])), ∂ meta-loss / ∂φ)`; the meta-loss is the sum of the losses."""

    def judged(theta, batch):
        value, g = jax.value_and_grad(lambda x: loss(network, x, batch))(jax.lax.stop_gradient(theta))
        return linearised(theta, value, g), g

    def step(phi, carry, batch):
        theta, states = carry
        value, g = judged(theta, batch)
        update, states = jax.checkpoint(cell)(phi, g, states)
        return (theta + update, states), value

    def meta_loss(phi):
        carry = jax.lax.stop_gradient((theta, states))
        (last, after), losses = jax.lax.scan(lambda c, batch: step(phi, c, batch), carry, batches[:-1])
        losses = jnp.append(losses, judged(last, batches[-1])[0])
        return losses.sum(), (last, after, losses)

    return jax.value_and_grad(meta_loss, has_aux=True)(phi)


def rollout(network: Network, phi, theta, states, batches):
    """`losses [T+1]` of T steps, without a meta-gradient."""

    def step(carry, batch):
        theta, states = carry
        value, g = jax.value_and_grad(lambda x: loss(network, x, batch))(theta)
        update, states = cell(phi, g, states)
        return (theta + update, states), value

    (theta, _), losses = jax.lax.scan(step, (theta, states), batches[:-1])
    return jnp.append(losses, loss(network, theta, batches[-1]))


def adam(phi, gradient, moments, step, learning_rate=1e-3):
    """`(φ, moments)` after a step of Adam."""
    (first, second), (fast, slow) = moments, BETAS
    first = jax.tree.map(lambda m, g: fast * m + (1 - fast) * g, first, gradient)
    second = jax.tree.map(lambda v, g: slow * v + (1 - slow) * g * g, second, gradient)
    rate = learning_rate * jnp.sqrt(1 - slow**step) / (1 - fast**step)
    return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), phi, first, second), (first, second)
