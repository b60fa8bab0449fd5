"""Evaluates many optimizers on many problems, one pair after the other; each result is returned when it is done.

A running evaluation keeps its state in a file (`halfway`). If it is interrupted, the next one continues from
there. The caller keeps the results, in the form of `l2o_tf.evaluating.results` for example.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from l2o_tf.common import summary
from l2o_tf.common.names import ends
from l2o_tf.evaluating import rollouts
from l2o_tf.evaluating.halfway import Keeper
from l2o_tf.evaluating.results import Identity, Result, file_name
from l2o_tf.optimizers import Optimizer
from l2o_tf.recording.progress import Progress
from l2o_tf.saving import named_weights, provenance, sources
from l2o_tf.saving.cards import kept_validation
from l2o_tf.saving.loading import kinds, load_optimizer
from problems.base import Problem, make_seed
from problems.python_files import digests


class Pair(NamedTuple):
    """What is to be evaluated: an optimizer, with its card, on a problem."""

    problem: Problem
    optimizer: Optimizer
    card: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, str]:
        """Of the problem and of the optimizer."""
        return self.problem.name, self.optimizer.name

    @property
    def identity(self) -> Identity:
        """Data, rule and weights, and digests of the user's own files."""
        own = kinds(self.card)
        files = digests([self.problem.name, *own])
        return {
            "problem": {
                "data": str(self.problem.data) if self.problem.data else None,
                "file": files.get(self.problem.name),
            },
            "optimizer": {
                "rule": self.card["optimizer"],
                "architecture": self.card.get("architecture"),
                "weights": _digest(named_weights(self.optimizer)),
                "files": {name: files[name] for name in own if name in files},
            },
        }


def _digest(weights: Mapping[str, Any]) -> str | None:
    """The first 16 hex digits of the SHA-256 of names, shapes and values; None without weights."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        digest.update(f"{name} {value.dtype} {value.shape}\0".encode() + value.tobytes())
    return digest.hexdigest()[:16] if weights else None


def contender(
    name: str, learning_rate: float | None = None, *, allow_code: bool = False
) -> tuple[Optimizer, Mapping[str, Any]]:
    """An optimizer and its card, as `trained.load_optimizer` finds them.

    Until a validation of a run finds better weights, its folder has those that it began with. Then the optimizer is
    named `NAME (before training)`, and a warning says why.
    """
    optimizer, card = load_optimizer(name, learning_rate, allow_code=allow_code)
    kept = kept_validation(card) if "validation" in card else {"epoch": None}
    if not kept or kept["epoch"] == 0:
        logging.warning(
            "%s has the weights that its meta-training began with: no validation has found better ones yet. Continue "
            "the meta-training first.",
            name,
        )
        optimizer.name += " (before training)"
    return optimizer, card


def evaluate_all(
    pairs: Sequence[Pair], folder: Path, *, seed: int = 0, num_steps: int, full_period: int = 0, **options: Any
) -> Iterator[Result]:
    """Evaluates pair after pair, with a progress bar each; an interrupted evaluation is continued.

    Args:
        pairs: what to evaluate.
        folder: for the file of the running evaluation. The file is removed when the caller asks for the next result.
        seed: decides starting points and minibatches.
        num_steps: steps per run.
        full_period: as in `evaluation.evaluate`.
        **options: further ones of `evaluation.evaluate`.

    Raises:
        ValueError: if one of the pairs cannot be evaluated; it is raised before the first evaluation.
    """
    checked = {name: options[name] for name in ("num_runs", "side_by_side") if name in options}
    for problem, optimizer, _ in pairs:
        rollouts.check(problem, optimizer, full_period=full_period, **checked)
    options |= {"seed": seed, "num_steps": num_steps, "full_period": full_period}
    return _each(pairs, folder, options)


def _each(pairs: Sequence[Pair], folder: Path, options: Mapping[str, Any]) -> Iterator[Result]:
    program = {"sources": sources(), "versions": provenance()["versions"]}
    for pair in pairs:
        identity = pair.identity
        keeper = Keeper(_halfway(folder, pair.names), {"identity": identity, "program": program, **options})
        yield _evaluate(pair, identity, keeper=keeper, **options)
        forget(folder, [pair.names])


def forget(folder: Path, names: Iterable[tuple[str, str]]) -> None:
    """Removes the files of evaluations that are done and whose results are kept elsewhere."""
    for each in names:
        _halfway(folder, each).unlink(missing_ok=True)


def _halfway(folder: Path, names: tuple[str, str]) -> Path:
    return folder / file_name(*names, ".halfway.npz")


def _evaluate(pair: Pair, identity: Identity, seed: int, *, num_steps: int, keeper: Keeper, **options: Any) -> Result:
    problem, optimizer, card = pair
    progress = Progress(num_steps, description=ends(f"{problem.name}: {optimizer.name}", 60))
    found = rollouts.evaluate(
        problem,
        optimizer,
        make_seed(seed),
        num_steps=num_steps,
        keeper=keeper,
        on_progress=lambda done, loss: progress.update(done, f"loss {loss:.4g}"),
        **options,
    )
    progress.close()
    statistics = summary.summarize(found.losses, seconds=found.seconds)
    return Result(*pair.names, identity, card, statistics, provenance(), found.losses, found.full or {})
