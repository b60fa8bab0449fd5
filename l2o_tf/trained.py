"""Optimizers by what a user types: a shipped name, an analytic rule, the folder of a run, or the original's weights."""

import difflib
from pathlib import Path
from typing import Any

from l2o_tf import checkpoint
from l2o_tf.checkpoint.weights import WEIGHTS
from l2o_tf.optimizers import ANALYTIC, CELLS, Optimizer, make_optimizer

PRETRAINED = Path(__file__).parent / "pretrained"


def pretrained_names() -> list[str]:
    """Names of the trained optimizers that ship with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{WEIGHTS}"))


def load_optimizer(name: str, learning_rate: float | None = None) -> tuple[Optimizer, dict[str, Any]]:
    """Finds an optimizer.

    Args:
        name: a shipped name (`"L2O-DM"`), an analytic one in any case (`"Adam"`), a folder with `weights.npz`, or a
            weight file of the original program (`cw.l2l-0`, or the same as `.npz`).
        learning_rate: of an analytic optimizer; default (None): its own.

    Returns:
        The optimizer, and its card; `{}` for analytic ones.

    Raises:
        ValueError: if there is no such optimizer, or its weights are damaged or of another architecture.
    """
    if name.lower() in ANALYTIC:
        options = {} if learning_rate is None else {"learning_rate": learning_rate}
        optimizer = make_optimizer(name.lower(), options)
        optimizer.name = name
        return optimizer, {"optimizer": name.lower(), "architecture": options}
    for folder in (PRETRAINED / name, Path(name)):
        if (folder / WEIGHTS).exists():
            return _from_folder(folder, name)
    if Path(name).is_file():
        return _from_original(Path(name))
    known = [*pretrained_names(), *(rule.capitalize() for rule in ANALYTIC)]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(
        f"Received optimizer {name!r}, expected one of {known}, the folder of a run, or a weight file of the original "
        f"program.{hint}"
    )


def _from_folder(folder: Path, name: str) -> tuple[Optimizer, dict[str, Any]]:
    card, weights = checkpoint.load_weights(folder)
    optimizer = make_optimizer(card["optimizer"], card["architecture"])
    optimizer.name = name
    checkpoint.assign_weights(optimizer, weights)
    return optimizer, card


def _from_original(path: Path) -> tuple[Optimizer, dict[str, Any]]:
    weights = checkpoint.import_original(path)
    for architecture in CELLS:
        optimizer = make_optimizer(architecture)
        shapes = {key: tuple(variable.shape) for key, variable in optimizer.named_variables.items()}
        if shapes == {key: value.shape for key, value in weights.items()}:
            checkpoint.assign_weights(optimizer, weights)
            optimizer.name = f"{path.stem} (original)"
            return optimizer, {"optimizer": architecture, "imported_from": path.name}
    found = {key: value.shape for key, value in weights.items()}
    raise ValueError(f"Received {path} with weights {found}, which fit none of the architectures {sorted(CELLS)}.")
