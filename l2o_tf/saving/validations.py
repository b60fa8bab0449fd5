"""What the validations of a run say of its weights; no TensorFlow."""

from collections.abc import Mapping
from typing import Any


def kept_validation(card: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The validation of the weights that were kept: the best of the last stage that beat its baseline.

    That baseline is the first validation of each later stage. Stages are validated over runs of different lengths, so
    their costs do not compare.
    """
    stages: dict[int, list] = {}
    for validation in card["validation"]:
        if validation["cost"] is not None:
            stages.setdefault(validation["stage"], []).append(validation)
    kept = None
    for stage, validations in sorted(stages.items()):
        best = min(validations, key=lambda validation: validation["cost"])
        if stage == 0 or best is not validations[0]:
            kept = best
    return kept
