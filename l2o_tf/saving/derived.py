"""Makes new optimizers of trained ones: weights between two, or an adjustment to long runs.

**Between two**, the second of which was trained further from the first::

    φ = (1 - α) φ_1 + α φ_2

Further training gains on what it sees and may lose elsewhere. On that line there are often weights with much of the
gain and little of the loss (Wortsman et al., *Robust fine-tuning of zero-shot models*, CVPR 2022, arXiv 2109.01903).
It is not meant for optimizers that were trained apart, whose hidden units have no common order.

**Adjusted.** Meta-training sees windows of runs of some hundred steps. In runs of ten thousand, updates that are best
there may be too long, and an output that is not quite zero without a gradient adds up to a drift. Each depends on one
number, which can be set without training::

    Δθ' = s Δθ                                        # the output scale, or of L2O-Scale o' = o + ln s
    b'  = b - z,    z the last layer's output at rest      # so that g = 0, 0, ... leads to Δθ = 0

z is measured where there never was a gradient. After gradients, a network may come to rest at another z: what remains
is measured, too (`l2o_tf.saving.drift`). The upper end of the range from which L2O-Scale draws first learning rates,
1e-6 to 1e-2, hurts long runs; it is an argument of the architecture. docs/data.md says how all this is chosen.

The card keeps the provenance of the training; that of the change is beside it, in `interpolated` or `adjusted`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2o_tf.common.quoting import few, short
from l2o_tf.optimizers import Optimizer, make_optimizer
from l2o_tf.optimizers.scale.weights import STEP_SIZE
from l2o_tf.saving import drift
from l2o_tf.saving.loading import different_arguments, find_ours, make
from l2o_tf.saving.provenance import provenance
from l2o_tf.saving.weights import Arrays, assign_weights, require_free, save_weights

OUTPUT_BIAS = "linear/b"


def interpolate(first: str, second: str, share: float, output: str) -> None:
    """Writes weights between two, with the card of the second and in it what they were made of.

    Args:
        first, second: names as in `loading.find`, of optimizers that have weights.
        share: α, from 0, the first, to 1, the second.
        output: folder for `weights.npz` and `optimizer.json`.

    Raises:
        ValueError: if the output has weights already, the share is another number, or one of the optimizers is not
            there, has no weights, was adjusted, or is of another architecture or has other arguments than the other.
        OSError: if the output cannot be written.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"Received a share of {share}, expected a number from 0, the first, to 1, the second.")
    folder = require_free(output)
    (one, before, *_), (two, after, *_) = find_ours(first), find_ours(second)
    if one["optimizer"] != two["optimizer"] or _shapes(before) != _shapes(after):
        raise ValueError(
            f"Received {first} ({one['optimizer']}, {short(_shapes(before))}) and {second} ({two['optimizer']}, "
            f"{short(_shapes(after))}), expected two of one architecture, the second trained further from the first."
        )
    if different := different_arguments(one["architecture"], two["architecture"], "first", "second"):
        raise ValueError(f"Received {first} and {second}, whose arguments differ: {few(different)}.")
    between = {name: (1 - share) * before[name] + share * after[name] for name in after}
    if "adjusted" in two:
        raise ValueError(f"Received {second}, which was adjusted after training: adjust what is between them instead.")
    made_of = [{"name": name, "sha256": end["weights"]["sha256"]} for name, end in ((first, one), (second, two))]
    made = {"share": share, "between": made_of, "provenance": provenance()}
    save_weights(folder, between, {**two, "interpolated": made})


def _shapes(weights: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in weights.items()}


def adjust(
    name: str,
    output: str,
    *,
    factor: float = 1.0,
    no_drift: bool = False,
    initial_learning_rates: Sequence[float] | None = None,
    allow_code: bool = False,
) -> tuple[float, float] | None:
    """Writes the same optimizer with what is asked for changed.

    Args:
        name: as in `loading.find`, of an optimizer that has weights.
        output: folder for `weights.npz` and `optimizer.json`. The card names the source; for one that was adjusted
            before, it has the product of the factors.
        factor: s, positive; default 1.
        no_drift: whether coordinates that never had a gradient come to rest. Default False.
        initial_learning_rates: range of an L2O-Scale's first learning rates; default: as it is.
        allow_code: as in `load`.

    Returns:
        The drift that was removed, and what remains of it where gradients have ended: updates per step, before the
        factor is applied. None unless `no_drift` was asked for.

    Raises:
        ValueError: if the output has weights already, an argument is invalid, nothing is to be adjusted, or there is no
            such optimizer or it lacks what is to be adjusted.
        OSError: if the output cannot be written.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"Received a factor of {factor}, expected a positive number.")
    if factor == 1 and not no_drift and initial_learning_rates is None:
        raise ValueError("Received a factor of 1 and nothing else, expected something to adjust.")
    folder, found = require_free(output), find_ours(name)
    optimizer, card, weights = make(found, allow_code=allow_code), found.card, found.weights
    source = {"name": name, "sha256": card["weights"]["sha256"]}
    adjusted = {"factor": 1.0, "no_drift": False, "from": source} | card.get("adjusted", {})
    adjusted |= {"factor": factor * adjusted["factor"], "no_drift": no_drift or adjusted["no_drift"]}
    weights, removed = _without_drift(optimizer, name, weights) if no_drift else (weights, None)
    architecture, weights = _lengthened(card, name, weights, factor)
    if initial_learning_rates is not None:
        rates = {"initial_learning_rates": list(initial_learning_rates)}
        if not rates.keys() <= architecture.keys():
            raise ValueError(f"Received {name} ({card['optimizer']}), expected an L2O-Scale for other first rates.")
        architecture, adjusted = architecture | rates, adjusted | rates
        make_optimizer(card["optimizer"], architecture)  # raises if they are no range
    adjusted["provenance"] = provenance()
    save_weights(folder, weights, {**card, "architecture": architecture, "adjusted": adjusted})
    return removed


def _lengthened(card: dict[str, Any], name: str, weights: Arrays, factor: float) -> tuple[dict[str, Any], Arrays]:
    """Architecture and weights with updates times `factor`."""
    architecture = dict(card["architecture"])
    if "scale" in architecture:
        architecture["scale"] *= factor
    elif STEP_SIZE in weights:
        weights = {**weights, STEP_SIZE: weights[STEP_SIZE] + np.float32(math.log(factor))}
    elif factor != 1:
        raise ValueError(
            f"Received {name} ({card['optimizer']}), which has neither an output scale nor learning rates. Expected an "
            "L2O-DM, an RNNprop, or an L2O-Scale with learning rates."
        )
    return architecture, weights


def _without_drift(optimizer: Optimizer, name: str, weights: Arrays) -> tuple[Arrays, tuple[float, float]]:
    """The weights with another bias of the last layer, the update per step that it removes, and what remains."""
    cell = getattr(optimizer, "cell", None)
    if OUTPUT_BIAS not in weights or not hasattr(cell, "last_layer"):
        raise ValueError(f"Received {name}, whose drift is not the bias of a last layer. Expected L2O-DM or RNNprop.")
    never, _ = drift.updates(optimizer)
    taken = float(never[-1, 0])
    if not np.ptp(never[-drift.LAST :]) <= 1e-3 * abs(taken) + 1e-12:
        raise ValueError(
            f"Received {name}, which does not come to rest within {drift.QUIET:,} steps without a gradient."
        )
    weights = {**weights, OUTPUT_BIAS: weights[OUTPUT_BIAS] - np.float32(cell.last_layer(taken))}
    assign_weights(optimizer, weights)
    return weights, (taken, drift.measure(optimizer).ended.last)
