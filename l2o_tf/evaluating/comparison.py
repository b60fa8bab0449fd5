"""Evaluates every optimizer on every problem, one pair after the other.

As many runs take place at the same time as there are cores; short ones follow each other until each core has done
`LEAST_STEPS`. Then they are written to a file of the pair (`l2o_tf.evaluating.results`), if `SECONDS` have passed since
the last time. A killed evaluation loses what came after that.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from l2o_tf.common import descriptions, folders, retracing, summary
from l2o_tf.common.names import ends
from l2o_tf.common.workers import ALONE, Workers
from l2o_tf.evaluating import results, rollouts
from l2o_tf.evaluating.results import Identity, PairResult, Results
from l2o_tf.optimizers import Optimizer
from l2o_tf.recording.progress import Progress
from l2o_tf.saving import named_weights, provenance
from l2o_tf.saving.loading import load_optimizer
from l2o_tf.saving.provenance import must_be_equal
from l2o_tf.saving.validations import kept_validation
from problems import PROBLEMS, contract, make_problem
from problems.base import Problem, Seed, make_seed
from problems.common.python_files import digests

Card = Mapping[str, Any]
"""What is known of an optimizer, of JSON types; at least `"optimizer"`, its kind."""


LEAST_STEPS = 10_000
SECONDS = 60.0

GivenOptimizer = Optimizer | str | os.PathLike
"""An optimizer in memory, or what finds one: a name, a folder, a file."""


class Pair(NamedTuple):
    """An optimizer, with its card, on a problem."""

    problem: Problem
    optimizer: Optimizer
    card: Card

    @property
    def names(self) -> tuple[str, str]:
        """Of the problem and of the optimizer."""
        return self.problem.name, self.optimizer.name

    @property
    def identity(self) -> Identity:
        """Data, rule and weights, and digests of the user's own files.

        The `"file"` of a problem that ships is None; that of one that was made in memory is `"in memory"`.
        """
        ships = self.problem.name in PROBLEMS
        own = descriptions.kinds(self.card["optimizer"], self.card.get("architecture"))
        files = digests([self.problem.name, *own])
        return {
            "problem": {
                "data": str(self.problem.data) if self.problem.data else None,
                "file": files.get(self.problem.name, None if ships else "in memory"),
                "start": contract.start_of(self.problem),
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


def evaluate(
    optimizers: GivenOptimizer | Sequence[GivenOptimizer],
    problems: Problem | str | Sequence[Problem | str],
    *,
    num_steps: int = 10_000,
    num_runs: int = 10,
    seed: int = 0,
    record: str = "after",
    full_period: int = 0,
    side_by_side: int = 1,
    folder: str | os.PathLike | None = None,
    allow_code: bool = False,
    workers: Workers = ALONE,
) -> Results:
    """Evaluates every optimizer on every problem; shows its progress on stderr.

    Run r of a problem has the same start and the same minibatches for every optimizer.

    >>> import l2o_tf
    >>> found = l2o_tf.evaluate(["Adam:0.1", "SGD:0.1"], "quadratic", num_steps=200, num_runs=2)
    >>> print(found.table())
    quadratic...
    >>> figure = found.plot()  # with a path, "quadratic.png", it writes the picture
    >>> found.losses["quadratic", "Adam 0.1"].shape
    (2, 200)

    Args:
        optimizers: one or a list: optimizers in memory; names of trained ones (`"L2O-DM"`) or of rules (`"Adam"`,
            `"Adam:0.001"`); folders of meta-trainings; weight files of the original program.
        problems: one or a list: problems in memory, or names. A problem that is named has its test data.
        num_steps: S, steps per run. Default 10,000, as in the paper.
        num_runs: R, runs per optimizer and problem, from different starting points. Default 10, as in the paper.
        seed: decides starting points and minibatches. Default 0.
        record: `"after"` (default): the loss after each update, on a fresh minibatch; `"before"`: the loss before it.
        full_period: measure loss and accuracy over the whole data set every so many steps, a multiple of 100. Default
            0: never.
        side_by_side: runs that take their steps together, a divisor of `num_runs`. Default 1; a GPU wants more.
        folder: keeps the results. Those that the folder has already are not evaluated again, and are among the
            results. If the process is killed, the same call continues after the last runs that were done. Default:
            results stay in memory.
        allow_code: whether Python code in the folders of optimizers may run. Default False.
        workers: the processes that share out the runs, from `connect`. Each makes the same call. The first one alone
            uses the folder. Default: this process alone.

    Returns:
        The results. Of several workers, the first one has all of them, the others those of this call.

    Raises:
        ValueError: before anything is run: if an optimizer or a problem does not exist, or is damaged; if two have the
            same name; if an optimizer does not fit a problem; if a number is out of its range; if the folder has
            results that contradict the arguments.
    """
    settings = {"num_runs": num_runs, "num_steps": num_steps, "record": record, "full_period": full_period}
    rollouts.check_options(side_by_side=side_by_side, **settings)
    settings = {"seed": int(make_seed(seed)[0])} | {k: x if k == "record" else int(x) for k, x in settings.items()}
    found, problems = with_cards(optimizers, allow_code=allow_code), _listed("problems", problems, Problem)
    made = [make_problem(each, mode="test") if isinstance(each, str) else each for each in problems]
    pairs = all_pairs(found, made)
    path = None if folder is None or not workers.is_chief else folders.as_path(folder)
    return evaluate_pairs(pairs, path, side_by_side=side_by_side, workers=workers, **settings)


def with_cards(
    optimizers: GivenOptimizer | Sequence[GivenOptimizer],
    learning_rate: float | None = None,
    *,
    allow_code: bool = False,
) -> list[tuple[Optimizer, Card]]:
    """Optimizers that are given, or named, with their cards. Their names differ.

    Until a validation of a run finds better weights, its folder has those that it began with. Then the optimizer is
    named `NAME (before training)`, and a warning says why.

    The arguments and errors are those of `evaluate`; `learning_rate` is that of rules whose name has none.
    """
    given = _listed("optimizers", optimizers, Optimizer)
    found = [_with_card(each, learning_rate, allow_code) for each in given]
    names = [optimizer.name for optimizer, _ in found]
    for each, (optimizer, _), name in zip(given, found, names, strict=True):
        if isinstance(each, str) and names.count(name) > 1:  # files of the original program are called alike
            optimizer.name = each
    _require_different("optimizers", [optimizer.name for optimizer, _ in found])
    return found


def _with_card(given: Optimizer | str, learning_rate: float | None, allow_code: bool) -> tuple[Optimizer, Card]:
    if isinstance(given, Optimizer):
        text = json.dumps({"optimizer": given.kind, "architecture": given.architecture}, default=str)
        # Keras numbers the names of its layers, so two that are alike have different ones.
        return given, json.loads(text, object_hook=lambda found: {k: v for k, v in found.items() if k != "name"})
    optimizer, card = load_optimizer(given, learning_rate, allow_code=allow_code)
    kept = kept_validation(card) if "validation" in card else {"epoch": None}
    if not kept or kept["epoch"] == 0:
        logging.warning(
            "%s has the weights that its meta-training began with: no validation has found better ones yet. Continue "
            "the meta-training first.",
            given,
        )
        optimizer.name += " (before training)"
    return optimizer, card


def _listed(what: str, given: Any, kind: type) -> list:
    """One thing, or a sequence of things, each a name or of that kind."""
    several = isinstance(given, Sequence) and not isinstance(given, str | kind)
    found = [os.fspath(each) if isinstance(each, os.PathLike) else each for each in (given if several else [given])]
    if not found or not all(isinstance(each, str | kind) for each in found):
        types = [type(each).__name__ for each in found]
        raise ValueError(f"Received {what} of types {types}, expected names or {kind.__name__}s, at least one.")
    return found


def _require_different(what: str, names: Sequence[str]) -> None:
    if odd := [name for name in names if not isinstance(name, str) or not name or not name.isprintable()]:
        raise ValueError(f"Received one of the {what} called {odd[0]!r}, expected a name that can be printed.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"Received two {what} called {twice[0]!r}, expected different names. Give one another name.")


def all_pairs(optimizers: Sequence[tuple[Optimizer, Card]], problems: Sequence[Problem]) -> list[Pair]:
    """Every problem with every optimizer, problem by problem. ValueError if two problems have the same name."""
    _require_different("problems", [problem.name for problem in problems])
    return [Pair(problem, *optimizer) for problem in problems for optimizer in optimizers]


def evaluate_pairs(
    pairs: Sequence[Pair], folder: Path | None = None, *, side_by_side: int = 1, workers: Workers = ALONE, **settings
) -> Results:
    """`evaluate` for pairs, no two of the same names. The settings are kept with the results.

    Of several workers, only the chief has a folder.
    """
    identities = {pair.names: pair.identity for pair in pairs}
    there = Results(settings, [])

    def missing() -> bytes:
        nonlocal there
        there = (results.find(folder) if folder else None) or there
        results.check_fit(folder, there, settings, identities)
        complete = {result.names for result in there.complete}
        return json.dumps([index for index, pair in enumerate(pairs) if pair.names not in complete]).encode()

    with workers.together():
        asked = {": ".join(names): identity for names, identity in identities.items()}
        workers.require_equal(lambda: {**must_be_equal(), **settings, "side_by_side": side_by_side, **asked})
        chosen = [pairs[index] for index in json.loads(workers.told(missing))]
        found = run_each(chosen, folder, side_by_side=side_by_side, workers=workers, **settings)
        if done := len(there.complete):
            counts = f"Results that {folder} has: {done}. Evaluations to do: {len(chosen)} of {len(pairs)}."
            print(counts, file=sys.stderr)
        everything = Results(settings, list({result.names: result for result in (*there, *found)}.values()))
        if folder:
            results.write(folder, everything)
        workers.most()  # which nobody passes before the chief has written
    return everything


def run_each(
    pairs: Sequence[Pair], folder: Path | None = None, *, side_by_side: int = 1, workers: Workers = ALONE, **settings
) -> Iterator[PairResult]:
    """The result of each pair, when it is done; a progress bar for each. The options are those of `evaluate`.

    A folder keeps each pair in a file, and continues what is there; the caller removes the files
    (`results.remove_pair`). A pair that cannot be evaluated is refused by the call, before the first evaluation.
    """
    options = {name: value for name, value in settings.items() if name != "seed"} | {"side_by_side": side_by_side}
    for problem, optimizer, _ in pairs:
        rollouts.check(problem, optimizer, **options)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    return (_result(pair, folder, settings, side_by_side, workers) for pair in pairs)


@retracing.hidden()
def _result(
    pair: Pair, folder: Path | None, settings: Mapping[str, Any], side_by_side: int, workers: Workers
) -> PairResult:
    options = {**settings, "side_by_side": side_by_side}
    seed, num_runs, num_steps = make_seed(options.pop("seed")), options.pop("num_runs"), settings["num_steps"]
    result = _begun(pair, folder, settings, side_by_side)
    count = workers.share.count * rollouts.at_once(side_by_side) * max(1, LEAST_STEPS // num_steps)
    begun, count = json.loads(workers.told(lambda: json.dumps([len(result.losses), count]).encode()))
    written, total, description = time.monotonic(), num_runs * num_steps, ends(": ".join(pair.names), 60)
    progress = Progress(total, initial=begun * num_steps, description=description, shown=workers.is_chief)
    with contextlib.closing(progress) as bar:
        for first in range(begun, num_runs, count):
            options |= {"first_run": first, "num_runs": min(count, num_runs - first)}

            def report(steps, loss, before=first * num_steps, num_runs=options["num_runs"]):
                bar.update(before + num_runs * steps, f"loss {loss:.4g}")

            result = _with_runs(result, _shared_runs(pair, seed, workers, on_progress=report, **options))
            if folder and (len(result.losses) == num_runs or time.monotonic() - written >= SECONDS):
                results.write_pair(folder, settings, result)
                written = time.monotonic()
    return result


def _shared_runs(
    pair: Pair, seed: Seed, workers: Workers, *, first_run: int, num_runs: int, side_by_side: int, **options
) -> rollouts.Runs:
    """`rollouts.run`, of which each worker computes a share."""
    part, own = workers.share.part(num_runs // side_by_side), []
    if part.count:
        options |= {"first_run": first_run + part.first * side_by_side, "num_runs": part.count * side_by_side}
        runs = rollouts.run(pair.problem, pair.optimizer, seed, side_by_side=side_by_side, **options)
        full = runs.full and [runs.full["step"][None], runs.full["loss"], runs.full["accuracy"]]
        own = [np.array([runs.seconds]), runs.losses, *(full or [])]
    seconds, losses, *full = workers.joined(own)
    measured = {"step": full[0][0], "loss": full[1], "accuracy": full[2]} if full else None
    return rollouts.Runs(losses, float(seconds.max()), measured)


def _begun(pair: Pair, folder: Path | None, settings: Mapping[str, Any], side_by_side: int) -> PairResult:
    """The runs of the pair that the folder has; none if they are of another pair or program."""
    none = np.empty([0, settings["num_steps"]], np.float32)
    empty = PairResult(*pair.names, pair.identity, pair.card, {}, provenance(), none, {})
    found = results.read_pair(folder, pair.names, settings) if folder else None
    if found is None or results.contradictions(found.identity, empty.identity):
        return empty
    same_program = {**found.provenance, "date": ""} == {**empty.provenance, "date": ""}
    return found if same_program and (settings["num_runs"] - len(found.losses)) % side_by_side == 0 else empty


def _with_runs(result: PairResult, runs: rollouts.Runs) -> PairResult:
    """The result, with further runs."""
    seconds = runs.seconds + len(result.losses) * (result.summary["seconds_per_run"] if result.summary else 0.0)
    losses, full = np.concatenate([result.losses, runs.losses]), dict(runs.full or {})
    for name in full.keys() & result.full.keys() - {"step"}:
        full[name] = np.concatenate([result.full[name], full[name]])
    return result._replace(losses=losses, full=full, summary=summary.summarize(losses, seconds=seconds))
