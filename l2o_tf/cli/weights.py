"""Makes optimizers of others: imports those of the original program, takes what is between two, or adjusts one.

    python -m l2o_tf.cli.weights import dm_cl/cw.l2l-0 --optimizer=L2O-DM --output=weights/dm_cl
    python -m l2o_tf.cli.weights import hess_cl_mt/model.ckpt-0 --optimizer=L2O-Scale --output=weights/scale
    python -m l2o_tf.cli.weights interpolate runs/short runs/further --share=0.5 --output=weights/between
    python -m l2o_tf.cli.weights adjust runs/further --factor=0.5 --no_drift --output=weights/steady

What can be wrong with the input is one line on stderr and exit code 2.
"""

import argparse
import os
import sys
from pathlib import Path

from l2o_tf.cli import console
from problems.common import closed_pipe


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    given = _parser().parse_args(argv)
    return console.guarded(lambda: print(given.run(given)), []) or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m l2o_tf.cli.weights", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("import", help="import weights of the original program")
    command.add_argument("file", help="a pickle such as cw.l2l-0, a checkpoint such as model.ckpt-0, or an .npz file")
    command.add_argument("--optimizer", default="L2O-DM", help="architecture; default: %(default)s")
    into = "folder for weights.npz and optimizer.json"
    command.add_argument("--output", help=f"{into}; default: imported/<folder>-<file>")
    command.set_defaults(run=_import)
    command = commands.add_parser("interpolate", help="weights between two, the second trained further from the first")
    command.add_argument("first", help="a shipped name or the folder of a run")
    command.add_argument("second", help="what was trained further from it")
    command.add_argument("--share", type=float, default=0.5, help="0: the first, 1: the second; default: %(default)s")
    command.add_argument("--output", required=True, help=into)
    command.set_defaults(run=_interpolate)
    command = commands.add_parser("adjust", help="the same optimizer with shorter updates, and the like, for long runs")
    command.add_argument("optimizer", help="a shipped name or the folder of a run")
    text = "what updates are multiplied by; default: %(default)s"
    command.add_argument("--factor", type=float, default=1.0, help=text)
    command.add_argument("--no_drift", action="store_true", help="let coordinates rest that never had a gradient")
    text = "range of L2O-Scale's first learning rates, such as 1e-5,1e-3"
    command.add_argument("--initial_learning_rates", type=numbers, help=text)
    command.add_argument("--allow_code", action="store_true", help="run the Python code that the folder has")
    command.add_argument("--output", required=True, help=into)
    command.set_defaults(run=_adjust)
    return parser


def numbers(text: str) -> tuple[float, ...]:
    """The numbers of a text with commas; argparse's errors have this function's name."""
    return tuple(map(float, text.split(",")))


def _import(given: argparse.Namespace) -> str:
    console.import_tensorflow()
    from l2o_tf.saving.original import import_file

    file = Path(given.file).resolve()
    output = given.output or os.path.join("imported", f"{file.parent.name}-{file.name}")
    shapes = import_file(given.file, given.optimizer, output)
    return f"{len(shapes)} variables of {given.optimizer} in {output}"


def _interpolate(given: argparse.Namespace) -> str:
    console.import_tensorflow()
    from l2o_tf.saving.derived import interpolate

    interpolate(given.first, given.second, given.share, given.output)
    return f"{given.share:.0%} of the way from {given.first} to {given.second} in {given.output}"


def _adjust(given: argparse.Namespace) -> str:
    console.import_tensorflow()
    from l2o_tf.saving.derived import adjust
    from l2o_tf.saving.drift import REST

    options = {name: getattr(given, name) for name in ("factor", "no_drift", "initial_learning_rates", "allow_code")}
    removed = adjust(given.optimizer, given.output, **options)
    without = "" if removed is None else f", without a drift of {removed[0]:.1e} a step"
    if removed and removed[1] > REST:
        without += f" ({removed[1]:.1e} a step remain where gradients have ended)"
    rates = given.initial_learning_rates
    between = "" if rates is None else f", first learning rates {' to '.join(f'{rate:g}' for rate in rates)}"
    return f"{given.optimizer} with updates times {given.factor:g}{without}{between}, in {given.output}"


if __name__ == "__main__":
    closed_pipe.install()
    sys.exit(main())
