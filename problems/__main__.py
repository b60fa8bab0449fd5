"""`python -m problems`: what there is, and a picture of one.

python -m problems --list                       # name, data, shapes, coordinates, description
python -m problems --problem=nas --plot         # Adam's losses and a minibatch, as nas.png
"""

import argparse
import math
import sys
from pathlib import Path

from problems import closed_pipe, quiet

_OF_THE_PLOT = {"num_steps": 200, "learning_rate": 0.01, "seed": 0, "output": None}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The options of the command; exit code 2 for wrong ones."""
    parser = argparse.ArgumentParser("python -m problems", description="Lists the problems, or draws one of them.")
    parser.add_argument("--list", action="store_true", help="print a table of all problems; the default")
    parser.add_argument("--problem", help="name of a problem, or path/to/file.py:function")
    parser.add_argument("--plot", action="store_true", help="draw the loss along Adam's trajectory, and a minibatch")
    parser.add_argument("--num_steps", type=int, help="steps of Adam (default: 200)")
    parser.add_argument("--learning_rate", type=float, help="of Adam (default: 0.01)")
    parser.add_argument("--seed", type=int, help="decides start and minibatches (default: 0)")
    parser.add_argument("--data", choices=("auto", "tfds", "embedded"), help="where images come from (default: auto)")
    parser.add_argument("--data_dir", help="folder of TFDS; default: $TFDS_DATA_DIR, then TFDS's own")
    parser.add_argument("--output", type=Path, help="the picture (default: NAME.png)")
    values = parser.parse_args(given)
    if values.plot and not values.problem:
        parser.error("Received --plot without --problem, expected the problem to be drawn; add --problem=NAME.")
    if values.list and values.problem:
        parser.error("Received --list with --problem, expected one of the two.")
    for name in ("data", "data_dir"):
        if getattr(values, name) is not None and not values.problem:
            parser.error(f"Received --{name} without --problem, where it does nothing.")
    values.data = values.data or "auto"
    for name, default in _OF_THE_PLOT.items():
        if getattr(values, name) is None:
            setattr(values, name, default)
        elif not values.plot:
            parser.error(f"Received --{name} without --plot, where it does nothing.")
    for name in ("num_steps", "learning_rate"):
        if not 0 < getattr(values, name) < math.inf:
            parser.error(f"Received --{name}={getattr(values, name)}, expected a number above 0.")
    return values


def main(values: argparse.Namespace) -> int:
    """Prints the table, the line of one problem, or draws it."""
    quiet.import_tensorflow()
    from problems import gallery, make_problem

    if not values.problem:
        print(gallery.table())
        return 0
    try:
        problem = make_problem(values.problem, data=values.data, data_dir=values.data_dir)
        print(gallery.describe(problem))
        if values.plot:
            file = values.output or Path(f"{Path(values.problem).name.replace('.py:', '-')}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            gallery.plot(problem, file, values.num_steps, values.learning_rate, values.seed)
            print(f"Picture: {file}")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    closed_pipe.install()
    sys.exit(main(arguments()))
