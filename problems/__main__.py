"""`python -m problems --list`: all problems with their data, tensors, coordinates and shapes; and the sets."""

import argparse
import inspect
import math

from problems.common import closed_pipe, startup

STAND_INS = {"digits-28x28": "MNIST", "digits-32x32": "CIFAR-10", "digits": "digits"}
"""Embedded data -> what they stand for."""


def table() -> str:
    """A line per problem, with the first line of the docstring, and one per set.

    Problems of images are made on the embedded digits, which have the shapes of the data set, so that nothing is
    downloaded or read.
    """
    from problems import PROBLEM_SETS, PROBLEMS, make_problem
    from problems.base import shapes_of

    rows = [("name", "data", "tensors", "coordinates", "shapes", "what it is")]
    for name, factory in PROBLEMS.items():
        problem = make_problem(name, data="embedded")
        data = STAND_INS.get(problem.data.name, "drawn") if problem.data else "-"
        shapes = [spec.shape for spec in shapes_of(problem).values()]
        listed = ["x".join(map(str, shape)) or "1" for shape in shapes]
        listed = " ".join(listed if len(listed) <= 4 else [*listed[:4], "..."])
        coordinates, about = f"{sum(map(math.prod, shapes)):,}", inspect.getdoc(factory).splitlines()[0]
        rows.append((name, data, str(len(shapes)), coordinates, listed, about))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join([*(f"{c:{a}{w}}" for c, a, w in zip(row, "<<>><", widths, strict=False)), row[-1]]) for row in rows
    ]
    sets = [f"{name:{widths[0]}}  {len(members)} problems" for name, members in PROBLEM_SETS.items()]
    return "\n".join([*lines, "", "Sets, of which each run gets one problem:", *sets])


if __name__ == "__main__":
    closed_pipe.install()
    parser = argparse.ArgumentParser("python -m problems", description="Lists the problems.")
    parser.add_argument("--list", action="store_true", help="print a table of all problems; the default")
    parser.parse_args()
    startup.import_tensorflow()
    print(table())
