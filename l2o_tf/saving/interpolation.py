"""Weights on the line between two trained optimizers, the second of which was trained further from the first::

    φ = (1 - α) φ_1 + α φ_2

Further training gains on what it sees and may lose elsewhere. On that line there are often weights with much of the
gain and little of the loss (Wortsman et al., *Robust fine-tuning of zero-shot models*, CVPR 2022, arXiv 2109.01903).
It is not meant for optimizers that were trained apart, whose hidden units have no common order.
"""

from l2o_tf import saving
from l2o_tf.common.quoting import short
from l2o_tf.saving import loading


def interpolate(first: str, second: str, share: float, output: str) -> None:
    """Writes `(1 - α) φ_1 + α φ_2`, with the card of the second and in it what it was made of.

    Args:
        first, second: names as in `trained.load_optimizer`, of optimizers that have weights.
        share: α, from 0, the first, to 1, the second.
        output: folder for `weights.npz` and `optimizer.json`.

    Raises:
        ValueError: if the share is another number, if one of the optimizers is not there or has no weights, or if they
            are of different architectures, or with other arguments.
        OSError: if the output cannot be written.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"Received a share of {share}, expected a number from 0, the first, to 1, the second.")
    (one, before), (two, after) = loading.read(first), loading.read(second)
    if one["optimizer"] != two["optimizer"] or _shapes(before) != _shapes(after):
        raise ValueError(
            f"Received {first} ({one['optimizer']}, {short(_shapes(before))}) and {second} ({two['optimizer']}, "
            f"{short(_shapes(after))}), expected two of one architecture, the second trained further from the first."
        )
    different = loading.differences(one["architecture"], two["architecture"])
    if different:
        raise ValueError(f"Received {first} and {second}, whose arguments differ (first, second): {short(different)}.")
    between = {name: (1 - share) * before[name] + share * after[name] for name in after}
    if "adjusted" in two:
        raise ValueError(f"Received {second}, which was adjusted after training: adjust what is between them instead.")
    made_of = [{"name": name, "sha256": end["weights"]["sha256"]} for name, end in ((first, one), (second, two))]
    made = {"share": share, "between": made_of, "provenance": saving.provenance()}
    saving.save_weights(output, between, {**two, "interpolated": made})


def _shapes(weights: saving.weights.Weights) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in weights.items()}
