"""`python -m problems`: a table of all problems, or the tensors of one.

python -m problems --list                       # name, data, shapes, coordinates, description
python -m problems --problem=nas                # its coordinates and the shape of each tensor
"""

import argparse
import inspect
import math
import sys

from problems.common import closed_pipe, startup

STAND_INS = {"digits-28x28": "MNIST", "digits-32x32": "CIFAR-10", "digits": "digits"}
"""Embedded data -> what they stand for."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The options of the command; exit code 2 for wrong ones."""
    parser = argparse.ArgumentParser("python -m problems", description="Lists the problems, or describes one of them.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--list", action="store_true", help="print a table of all problems; the default")
    which.add_argument("--problem", help="name of a problem, or path/to/file.py:function")
    parser.add_argument("--data", choices=("auto", "tfds", "embedded"), help="where images come from (default: auto)")
    parser.add_argument("--data_dir", help="folder of TFDS; default: $TFDS_DATA_DIR, then TFDS's own")
    values = parser.parse_args(given)
    for name in ("data", "data_dir"):
        if getattr(values, name) is not None and not values.problem:
            parser.error(f"Received --{name} without --problem, where it does nothing.")
    return values


def main(values: argparse.Namespace) -> int:
    """Prints the table, or the description of one problem."""
    startup.import_tensorflow()
    from problems import make_problem

    if not values.problem:
        print(table())
        return 0
    try:
        print(describe(make_problem(values.problem, data=values.data or "auto", data_dir=values.data_dir)))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def table() -> str:
    """All problems with data, tensors, coordinates, shapes and the first line of the docstring; and the sets.

    Problems of images are made on the embedded digits, which have the shapes of the data set, so that nothing is
    downloaded or read.
    """
    from problems import PROBLEM_SETS, PROBLEMS, make_problem
    from problems.base import shapes_of

    rows = [("name", "data", "tensors", "coordinates", "shapes", "what it is")]
    for name, factory in PROBLEMS.items():
        problem = make_problem(name, data="embedded")
        data = STAND_INS.get(problem.data.name, "drawn") if problem.data else "-"
        shapes, about = shapes_of(problem), (inspect.getdoc(factory) or "").splitlines()[0]
        short = ["x".join(map(str, spec.shape)) or "1" for spec in shapes.values()]
        short = " ".join(short if len(short) <= 4 else [*short[:4], "..."])
        rows.append((name, data, *_sizes(shapes), short, about))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join([*(f"{c:{a}{w}}" for c, a, w in zip(row, "<<>><", widths, strict=False)), row[-1]]) for row in rows
    ]
    sets = [f"{name:{widths[0]}}  {len(members)} problems" for name, members in PROBLEM_SETS.items()]
    return "\n".join([*lines, "", "Sets, of which each run gets one problem:", *sets])


def describe(problem) -> str:
    """Name, data, and each tensor with its shape."""
    from problems.base import shapes_of

    shapes = shapes_of(problem)
    lines = [f"  {name:24} {list(spec.shape)}" for name, spec in shapes.items()]
    shown = lines if len(lines) <= 40 else [*lines[:40], f"  ... and {len(lines) - 40} more"]
    tensors, coordinates = _sizes(shapes)
    headline = f"{problem.name}: {coordinates} coordinates in {tensors} tensors; {problem.data or 'no data'}"
    return "\n".join([headline, *shown])


def _sizes(shapes) -> tuple[str, str]:
    """Tensors and coordinates."""
    return f"{len(shapes):,}", f"{sum(math.prod(spec.shape) for spec in shapes.values()):,}"


if __name__ == "__main__":
    closed_pipe.install()
    sys.exit(main(arguments()))
