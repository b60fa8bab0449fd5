"""Weights on the line between two trained optimizers, the second of which was trained further from the first::

    φ = (1 - α) φ_1 + α φ_2

Further training gains on what it sees and may lose elsewhere. On that line there are often weights with much of the
gain and little of the loss (Wortsman et al., *Robust fine-tuning of zero-shot models*, CVPR 2022, arXiv 2109.01903).
It is not meant for optimizers that were trained apart, whose hidden units have no common order.
"""

from l2o_tf.common.quoting import few, short
from l2o_tf.saving.loading import different_arguments, find_ours
from l2o_tf.saving.provenance import provenance
from l2o_tf.saving.weights import Arrays, require_free, save_weights


def interpolate(first: str, second: str, share: float, output: str) -> None:
    """Writes `(1 - α) φ_1 + α φ_2`, with the card of the second and in it what it was made of.

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
