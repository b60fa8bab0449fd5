"""Where a meta-training stands, as plain values that a checkpoint can hold."""

import dataclasses
import json
from typing import Any

from l2o_tf.training import curriculum as cl


@dataclasses.dataclass
class Standing:
    """Where a meta-training stands; plain values.

    Attributes:
        epoch: meta-epochs done.
        inner_steps: optimizee steps done in training.
        imitations: imitation meta-epochs done (decides whose turn it is in `teacher_choice="cycle"`).
        skips, skips_in_a_row: diverged meta-epochs, those included after which the weights were not finite.
        curriculum: state of the curriculum; its first stage serves runs without a curriculum.
        history: one dict per validation.
        stopped: why meta-training ended before its last meta-epoch, or "".
        wall_seconds: time spent in training and validation, over all sessions.
    """

    epoch: int = 0
    inner_steps: int = 0
    imitations: int = 0
    skips: int = 0
    skips_in_a_row: int = 0
    curriculum: cl.CurriculumState = dataclasses.field(default_factory=cl.initial_state)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    stopped: str = ""
    wall_seconds: float = 0.0

    def to_json(self) -> str:
        """JSON that `from_json` restores exactly."""
        return json.dumps({**dataclasses.asdict(self), "curriculum": cl.to_dict(self.curriculum)})

    @classmethod
    def from_json(cls, text: str) -> "Standing":
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "curriculum": cl.from_dict(values["curriculum"])})
