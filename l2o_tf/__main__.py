"""`python -m l2o_tf`: the trained optimizers that ship, and what is known of each."""

import json

from l2o_tf.checkpoint import CARD
from l2o_tf.trained import PRETRAINED, pretrained_names


def describe(name: str) -> str:
    """A line about a shipped optimizer, from the record of its meta-training."""
    card = json.loads((PRETRAINED / name / CARD).read_text())
    config, best = card["provenance"]["config"], card["provenance"]["validation"]
    techniques = [key for key in ("curriculum", "imitation", "self_improving") if config[key]]
    return f"{name:16} {card['optimizer']:10} trained on {config['problem']}, {' and '.join(techniques) or 'plain'}; {best}"


def main() -> None:
    """Prints the table."""
    print("\n".join(describe(name) for name in pretrained_names()))


if __name__ == "__main__":
    main()
