"""`python -m l2o_tf`: the trained optimizers that ship, with what their `CARD.md` says first of each."""

import argparse

from l2o_tf.common.names import PRETRAINED, pretrained_names
from problems.common import closed_pipe


def main() -> None:
    """Prints the list; exit code 2 for arguments, of which there are none."""
    argparse.ArgumentParser("python -m l2o_tf", description=__doc__).parse_args()
    for name in pretrained_names():
        _, lines, *_ = (PRETRAINED / name / "CARD.md").read_text(encoding="utf-8").split("\n\n")
        print(f"{name}\n{lines}\n")


if __name__ == "__main__":
    closed_pipe.install()
    main()
