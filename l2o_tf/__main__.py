"""`python -m l2o_tf`: the trained optimizers that ship, with what is known of each."""

import argparse

from l2o_tf.common.names import pretrained_names
from l2o_tf.saving import description
from problems.common import closed_pipe


def main() -> None:
    """Prints the list; exit code 2 for arguments, of which there are none."""
    argparse.ArgumentParser("python -m l2o_tf", description=__doc__).parse_args()
    print("\n\n".join(description.entry(name, *description.read(name)) for name in pretrained_names()))


if __name__ == "__main__":
    closed_pipe.install()
    main()
