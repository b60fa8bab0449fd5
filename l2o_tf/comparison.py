"""Many optimizers on many problems: one evaluation after the other, each on the disk as soon as it is done.

A comparison is a folder with two files, both written anew after every evaluation::

    curves.npz      "problem/optimizer" -> losses [R, num_steps]; ".../full_loss" and so on where they were measured;
                    "problem/data" -> what data that was
    summary.json    the settings, and per evaluation the statistics, the data and the optimizer's card;
                    "complete" is false as long as evaluations are missing, "curves" the SHA-256 of the other file

One that was interrupted is continued: `unfinished` returns what is there, if the settings are the same, and what has
the same data and the same weights needs no second run.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2o_tf import evaluation, summary
from l2o_tf.checkpoint import provenance, sources, write_atomically
from l2o_tf.halfway import Keeper
from l2o_tf.optimizers import Optimizer
from l2o_tf.progress import Progress
from l2o_tf.trained import kinds
from problems.base import Problem, make_seed
from problems.from_file import digests

CURVES, SUMMARY = "curves.npz", "summary.json"


class Pair(NamedTuple):
    """What is to be evaluated: an optimizer, with its card, on a problem."""

    problem: Problem
    optimizer: Optimizer
    card: Mapping[str, Any]

    @property
    def key(self) -> str:
        """That of its `Result`."""
        return f"{self.problem.name}/{self.optimizer.name}"


class Result(NamedTuple):
    """What came out.

    Attributes:
        problem, optimizer: their names.
        data: which data was used (`str(DataInfo)`), or None.
        card: of the optimizer.
        summary: what `summary.summarize` returns.
        losses: `[R, num_steps]`.
        full: measurements over the whole data set by name, possibly none.
    """

    problem: str
    optimizer: str
    data: str | None
    card: Mapping[str, Any]
    summary: Mapping[str, Any]
    losses: np.ndarray
    full: Mapping[str, np.ndarray]

    @property
    def key(self) -> str:
        """Name of the losses in `curves.npz`."""
        return f"{self.problem}/{self.optimizer}"

    def is_of(self, pair: Pair) -> bool:
        """Whether this is the result of a pair: the same names, data and card, hence the same weights."""
        return (self.problem, self.optimizer, self.data, _as_read(self.card)) == (
            pair.problem.name,
            pair.optimizer.name,
            _data(pair.problem),
            _as_read(pair.card),
        )


def evaluate_all(
    pairs: Sequence[Pair], folder: Path, *, seed: int = 0, num_steps: int, full_period: int = 0, **options: Any
) -> Iterator[Result]:
    """Evaluates pair after pair, with a progress bar each; one that was cut off goes on where it was.

    Args:
        pairs: what to evaluate.
        folder: where the file of an evaluation is while it runs. It is removed when the next result is asked for.
        seed: decides starting points and minibatches.
        num_steps: steps per run.
        full_period: as in `evaluation.evaluate`.
        **options: further ones of `evaluation.evaluate`.

    Raises:
        ValueError: if one of the pairs cannot be evaluated; before the first of them is.
    """
    checked = {name: options[name] for name in ("num_runs", "side_by_side") if name in options}
    for problem, optimizer, _ in pairs:
        evaluation.check(problem, optimizer, full_period=full_period, **checked)
    options |= {"seed": seed, "num_steps": num_steps, "full_period": full_period}
    return _each(pairs, folder, options)


def _each(pairs: Sequence[Pair], folder: Path, options: Mapping[str, Any]) -> Iterator[Result]:
    for pair in pairs:
        path = folder / file_name(pair.problem.name, pair.optimizer.name, ".halfway.npz")
        keeper = Keeper(path, _decisive(pair, options))
        yield _evaluate(pair, keeper=keeper, **options)
        keeper.forget()


def file_name(problem: str, optimizer: str, ending: str) -> str:
    """`mnist--L2O-DM.json`: the name of a file that an evaluation has to itself."""
    return f"{problem}--{optimizer}{ending}".replace(" ", "_").replace("/", "_")


def _decisive(pair: Pair, options: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides what comes out of an evaluation."""
    program = {"sources": sources(), "versions": provenance()["versions"]}
    files = digests([pair.problem.name, *kinds(pair.card)])
    data = pair.problem.data._asdict() if pair.problem.data else None
    return {"card": pair.card, "data": data, "files": files, "program": program, **options}


def _evaluate(pair: Pair, seed: int, *, num_steps: int, keeper: Keeper, **options: Any) -> Result:
    problem, optimizer, card = pair
    progress = Progress(num_steps, description=f"{problem.name}: {optimizer.name}")
    found = evaluation.evaluate(
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
    return Result(problem.name, optimizer.name, _data(problem), card, statistics, found.losses, found.full or {})


def save(folder: Path, results: Sequence[Result], settings: Mapping[str, Any], *, complete: bool) -> None:
    """Writes both files.

    Args:
        folder: where to.
        results: all so far.
        settings: what was asked, of JSON types; a continued comparison must have the same.
        complete: whether no result is missing.

    Raises:
        OSError: if the folder cannot be written or the disk is full; each file is then as it was.
    """
    curves = {result.key: result.losses for result in results}
    curves |= {f"{result.key}/full_{name}": value for result in results for name, value in result.full.items()}
    curves |= {f"{result.problem}/data": np.array(result.data or "none") for result in results}
    compressed = io.BytesIO()
    np.savez_compressed(compressed, **curves)
    data = compressed.getvalue()
    write_atomically(folder / CURVES, data)
    entries = [{name: getattr(result, name) for name in Result._fields[:5]} for result in results]
    record = {"complete": complete, "flags": dict(settings), "results": entries, "provenance": provenance()}
    record["curves"] = _digest(data)
    write_atomically(folder / SUMMARY, json.dumps(record, indent=2).encode())


def unfinished(folder: Path, settings: Mapping[str, Any]) -> list[Result]:
    """The results of a comparison with these settings that was interrupted in this folder; otherwise none.

    Raises:
        ValueError: if one with other settings was interrupted there, which would be lost.
    """
    record = _interrupted(folder)
    if not record:
        return []
    there, here = record["flags"], _as_read(settings)
    different = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    if different == ["files"]:
        return []  # of an earlier version of the user's own file
    if different:
        told = "; ".join(f"{name}: {there.get(name)} there, {here.get(name)} now" for name in different)
        raise ValueError(
            f"Received --output_dir={folder}, which holds an unfinished evaluation with other options ({told}). "
            "Use the same ones to continue it, another folder, or delete that one."
        )
    try:
        data = (folder / CURVES).read_bytes()
        if record["curves"] != _digest(data):
            return []  # killed between the two files
        curves = dict(np.load(io.BytesIO(data), allow_pickle=False))
        return [_read(entry, curves) for entry in record["results"]]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return []  # damaged: evaluated anew


def _interrupted(folder: Path) -> dict[str, Any] | None:
    """What a comparison that was interrupted has written of itself, if there is one with results."""
    try:
        record = json.loads((folder / SUMMARY).read_bytes())
        return record if not record["complete"] and record["results"] and dict(record["flags"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or damaged


def _read(entry: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Result:
    key = f"{entry['problem']}/{entry['optimizer']}"
    start = f"{key}/full_"
    full = {name.removeprefix(start): value for name, value in curves.items() if name.startswith(start)}
    return Result(**entry, losses=curves[key], full=full)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _as_read(value: Any) -> Any:
    """As JSON returns it: lists for tuples."""
    return json.loads(json.dumps(value))


def _data(problem: Problem) -> str | None:
    return str(problem.data) if problem.data else None
