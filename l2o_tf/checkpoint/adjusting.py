"""A trained optimizer with shorter updates, and without a drift: two numbers of φ, for long runs.

Meta-training sees runs of some hundred steps, cut into windows, and learns what is best for them: strides that a run of
ten thousand steps does not forgive, and an output that is not quite zero where there is no gradient, of which ten
thousand steps make a walk. Both are one number each, that can be set without training::

    Δθ' = s Δθ                                        # the output scale, or of L2O-Scale o' = o + ln s
    b'  = b - z,    z the last layer's output at rest      # so that g = 0, 0, ... leads to Δθ = 0

How s is chosen, and on what, is in docs/data.md.
"""

import math

import numpy as np
import tensorflow as tf

from l2o_tf import checkpoint, trained
from l2o_tf.checkpoint.weights import Weights
from l2o_tf.optimizers import Optimizer
from l2o_tf.optimizers.scale_weights import STEP_SIZE
from problems.base import make_seed

OUTPUT_BIAS = "linear/b"
STEPS_TO_REST = 1000
"""Steps without a gradient after which a recurrent network is asked what it does; those that ship need some hundred."""


def adjust(name: str, output: str, *, factor: float = 1.0, no_drift: bool = False) -> float | None:
    """Writes the same optimizer with updates that are `factor` times as long, and, if wanted, without its drift.

    Args:
        name: as in `trained.load_optimizer`, of an optimizer that has weights.
        output: folder for `weights.npz` and `optimizer.json`; the card says what it was made of, and of something that
            was adjusted before the product of the factors.
        factor: s, positive; default 1.
        no_drift: whether coordinates without a gradient come to rest. Default False.

    Returns:
        The drift that was taken away, as an update per step, at the length it had before; None if it was not asked for.

    Raises:
        ValueError: if the factor is no such number, nothing is to be adjusted, the optimizer is not there or has no
            weights, it has neither an output scale nor learning rates, or, for its drift, no last layer whose bias
            takes it away (L2O-Scale).
        OSError: if the output cannot be written.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"Received a factor of {factor}, expected a positive number.")
    if factor == 1 and not no_drift:
        raise ValueError("Received a factor of 1 and a drift that may stay, expected something to adjust.")
    optimizer, card, weights = trained.with_weights(name)
    weights, drift = _without_drift(optimizer, name, weights) if no_drift else (weights, None)
    architecture = dict(card["architecture"])
    if "scale" in architecture:
        architecture["scale"] *= factor
    elif STEP_SIZE in weights:
        weights = {**weights, STEP_SIZE: weights[STEP_SIZE] + np.float32(math.log(factor))}
    else:
        raise ValueError(
            f"Received {name} ({card['optimizer']}), which has neither an output scale nor learning rates. Expected an "
            "L2O-DM, an RNNprop, or an L2O-Scale with learning rates."
        )
    source = {"name": name, "sha256": card["weights"]["sha256"]}
    before = {"factor": 1.0, "no_drift": False, "from": source} | card.get("adjusted", {})
    changed = {"factor": factor * before["factor"], "no_drift": no_drift or before["no_drift"]}
    card = {**card, "architecture": architecture, "adjusted": {**before, **changed}}
    checkpoint.save_weights(output, weights, {**card, "provenance": checkpoint.provenance()})
    return drift


def _without_drift(optimizer: Optimizer, name: str, weights: Weights) -> tuple[Weights, float]:
    """The weights with another bias of the last layer, and the update per step that it takes away."""
    cell = getattr(optimizer, "cell", None)
    if OUTPUT_BIAS not in weights or not hasattr(cell, "last_layer"):
        raise ValueError(f"Received {name}, whose drift is not the bias of a last layer. Expected L2O-DM or RNNprop.")
    updates = at_rest(optimizer)
    drift = float(updates[-1])
    if not np.ptp(updates) <= 1e-3 * abs(drift) + 1e-12:
        raise ValueError(
            f"Received {name}, which does not come to rest within {STEPS_TO_REST:,} steps without a gradient."
        )
    return {**weights, OUTPUT_BIAS: weights[OUTPUT_BIAS] - np.float32(cell.last_layer(drift))}, drift


def at_rest(optimizer: Optimizer, steps: int = STEPS_TO_REST) -> np.ndarray:
    """`[10]`: the last updates of `steps` in which a coordinate has no gradient."""
    params = {"x": tf.zeros([1])}

    @tf.function(autograph=False)
    def step(state):
        return optimizer.update(params, state, params)

    state, found = optimizer.initial_state(params, make_seed(0)), []
    for _ in range(steps):
        updates, state = step(state)
        found.append(float(updates["x"][0]))
    return np.array(found[-10:])
