"""Makes optimizers of others: imports those of the original program, takes what is between two, or adjusts one.

python -m l2o_tf.saving import dm_cl/cw.l2l-0 --optimizer=L2O-DM --output=weights/dm_cl
python -m l2o_tf.saving import hess_cl_mt/model.ckpt-0 --optimizer=L2O-Scale --output=weights/scale
python -m l2o_tf.saving interpolate runs/short runs/further --share=0.5 --output=weights/between
python -m l2o_tf.saving adjust runs/further --factor=0.5 --no_drift --output=weights/steady
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

from l2o_tf.cli import console
from l2o_tf.saving import WEIGHTS, assign_weights, import_original, named_weights, provenance, save_weights, tensorflow1
from problems import closed_pipe


def import_file(file: str, optimizer: str, output: str) -> dict:
    """Reads weights of the original program, checks that they are this optimizer's, and saves them.

    Returns:
        Name -> shape of what was saved.

    Raises:
        ValueError: if the file, or the architecture, is not right.
        OSError: if the file cannot be read or the output cannot be written.
    """
    weights = import_original(file)
    console.import_tensorflow()
    from l2o_tf.optimizers import make_optimizer

    learned = make_optimizer(optimizer)
    assign_weights(learned, weights)
    path = Path(file)
    card = {
        "optimizer": optimizer,
        "architecture": learned.architecture,
        "imported": {
            "from": "weights of the original program",
            "file": str(Path(path.parent.name, path.name)),
            "sha256": _sha256(tensorflow1.files(path) or [path]),
        },
        "provenance": provenance(),
    }
    save_weights(output, named_weights(learned), card)
    return {name: value.shape for name, value in weights.items()}


def _sha256(files: list[Path]) -> str:
    """Of the files' content, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main(argv: list[str] | None = None) -> int:
    """Runs a command; bad input is one line on stderr and exit code 2."""
    given = _parser().parse_args(argv)
    try:
        print(given.run(given))
    except (ValueError, OSError) as error:
        print(f"l2o_tf.saving: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m l2o_tf.saving", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("import", help="import weights of the original program")
    command.add_argument("file", help="a pickle such as cw.l2l-0, a checkpoint such as model.ckpt-0, or an .npz file")
    command.add_argument("--optimizer", default="L2O-DM", help="architecture; default: %(default)s")
    command.add_argument(
        "--output", help="folder for weights.npz and optimizer.json; default: imported/<folder>-<file>"
    )
    command.set_defaults(run=_import)
    command = commands.add_parser("interpolate", help="weights between two, the second trained further from the first")
    command.add_argument("first", help="a shipped name or the folder of a run")
    command.add_argument("second", help="what was trained further from it")
    command.add_argument("--share", type=float, default=0.5, help="0: the first, 1: the second; default: %(default)s")
    command.add_argument("--output", required=True, help="folder for weights.npz and optimizer.json")
    command.set_defaults(run=_interpolate)
    command = commands.add_parser("adjust", help="the same optimizer with shorter updates, and the like, for long runs")
    command.add_argument("optimizer", help="a shipped name or the folder of a run")
    command.add_argument(
        "--factor", type=float, default=1.0, help="what updates are multiplied by; default: %(default)s"
    )
    command.add_argument("--no_drift", action="store_true", help="let coordinates rest that never had a gradient")
    text = "range of L2O-Scale's first learning rates, such as 1e-5,1e-3"
    command.add_argument("--initial_learning_rates", type=numbers, help=text)
    command.add_argument("--allow_code", action="store_true", help="run the Python code that the folder has")
    command.add_argument("--output", required=True, help="folder for weights.npz and optimizer.json")
    command.set_defaults(run=_adjust)
    return parser


def numbers(text: str) -> tuple[float, ...]:
    """`"1e-6,1e-2"` -> `(1e-6, 1e-2)`."""
    return tuple(float(entry) for entry in text.split(","))


def _free(output: str) -> str:
    """`output`, unless there are weights, or a meta-training, which would be lost."""
    if (Path(output) / "config.json").exists() or (Path(output) / WEIGHTS).exists():
        raise ValueError(f"Received --output={output}, which holds weights already. Use another folder, or delete it.")
    return output


def _import(given: argparse.Namespace) -> str:
    file = Path(given.file).resolve()
    output = _free(given.output or os.path.join("imported", f"{file.parent.name}-{file.name}"))
    shapes = import_file(given.file, given.optimizer, output)
    return f"{len(shapes)} variables of {given.optimizer} in {output}"


def _interpolate(given: argparse.Namespace) -> str:
    console.import_tensorflow()
    from l2o_tf.saving.interpolation import interpolate

    interpolate(given.first, given.second, given.share, _free(given.output))
    return f"{given.share:.0%} of the way from {given.first} to {given.second} in {given.output}"


def _adjust(given: argparse.Namespace) -> str:
    console.import_tensorflow()
    from l2o_tf.saving.adjusting import adjust

    options = {name: getattr(given, name) for name in ("factor", "no_drift", "initial_learning_rates", "allow_code")}
    found = adjust(given.optimizer, _free(given.output), **options)
    without = "" if found is None else f", without a drift of {found[0]:.1e} a step{_remaining(found[1])}"
    rates = given.initial_learning_rates
    between = "" if rates is None else f", first learning rates {' to '.join(f'{rate:g}' for rate in rates)}"
    return f"{given.optimizer} with updates times {given.factor:g}{without}{between}, in {given.output}"


def _remaining(update: float) -> str:
    from l2o_tf.saving.drift import REST

    return "" if update <= REST else f" ({update:.1e} a step remain where gradients have ended)"


if __name__ == "__main__":
    closed_pipe.install()
    sys.exit(main())
