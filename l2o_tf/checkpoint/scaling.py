"""A trained optimizer whose updates are all longer or shorter than what it was trained to make::

    Δθ' = s Δθ

Meta-training sees runs of some hundred steps, cut into windows, and learns what is best for them: strides that a run of
ten thousand steps does not forgive. s is the one number of φ for which such runs can simply be tried out; see
docs/data.md for how it is chosen, and on what.
"""

import math

import numpy as np

from l2o_tf import checkpoint, trained
from l2o_tf.optimizers.scale_weights import STEP_SIZE


def scale_updates(name: str, factor: float, output: str) -> None:
    """Writes the same optimizer with updates that are `factor` times as long.

    Of L2O-DM and RNNprop it is the output scale that changes, of L2O-Scale the offset o of all log learning rates:
    `o' = o + ln s`.

    Args:
        name: as in `trained.load_optimizer`, of an optimizer that has weights.
        factor: s, positive.
        output: folder for `weights.npz` and `optimizer.json`; the card says what it was made of, and of something that
            was scaled before the product of the factors.

    Raises:
        ValueError: if the factor is no such number, or the optimizer is not there, has no weights, or has neither of
            the two (an L2O-Scale without learning rates).
        OSError: if the output cannot be written.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"Received a factor of {factor}, expected a positive number; 1 changes nothing.")
    card, weights = trained.with_weights(name)
    architecture = dict(card["architecture"])
    if "scale" in architecture:
        architecture["scale"] *= factor
    elif STEP_SIZE in weights:
        weights[STEP_SIZE] = weights[STEP_SIZE] + np.float32(math.log(factor))
    else:
        raise ValueError(
            f"Received {name} ({card['optimizer']}), which has neither an output scale nor learning rates. Expected an "
            "L2O-DM, an RNNprop, or an L2O-Scale with learning rates."
        )
    made_of = {"factor": 1.0, "from": {"name": name, "sha256": card["weights"]["sha256"]}} | card.get("scaled", {})
    changed = {"architecture": architecture, "scaled": {**made_of, "factor": factor * made_of["factor"]}}
    checkpoint.save_weights(output, weights, {**card, **changed, "provenance": checkpoint.provenance()})
