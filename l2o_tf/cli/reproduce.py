"""Evaluates optimizers as the paper does; shows the results beside the paper's and the project's own.

    python reproduce.py --optimizer=L2O-DM,L2O-DM-CL-IL,Adam
    python reproduce.py --optimizer=path/to/cw.l2l-0           # the original's released weights
    python reproduce.py                                        # shows what has been evaluated so far

10,000 steps, 10 runs, by default on the paper's three multilayer perceptrons; `--problem=mnist_conv,cifar_conv` are its
others, and `--problem=lenet,nas --num_steps=2000 --num_runs=3` those of its figure 7. Every optimizer and problem has a
result file of its own in --results. Files that exist are kept; the same command continues an interrupted one.

The project's own results, in experiments/results, are shown beside the new ones and never used in their place. The
tables of docs/reproduction-tables.md are made of them alone:

    python reproduce.py --results=experiments/results --document=docs/reproduction-tables.md
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from l2o_tf.cli import console
from l2o_tf.common import folders, summary
from l2o_tf.evaluating import results

STEPS = (100, 1000, 2000, 5000, 10_000)
BEGIN, END = "<!-- tables: reproduce.py -->", "<!-- end of tables -->"

RECORDED = Path(__file__).parents[2] / "experiments" / "results"
"""Results that are part of the project."""

PAPER = json.loads((Path(__file__).parents[2] / "experiments" / "paper_figures.json").read_text())
"""ln loss of the paper's figures by problem and optimizer, at three steps."""

RELEASED = {"L2O-DM": "dm", "L2O-DM-CL": "dm_cl", "L2O-DM-CL-IL": "dm_cl_il", "RNNprop-CL-IL": "rnnprop_cl_il"}
"""What ships -> the released weights of the same name."""

_KEPT = ("config", "validation", "weights", "provenance", "interpolated", "adjusted")
"""What a result file keeps of the card of a trained optimizer."""

PROBLEMS = (*PAPER["ln_loss"], "lenet", "nas")
"""The paper's optimizees, in its order: those of figure 2, then those of figure 7."""


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this script."""
    flags.DEFINE_list("optimizer", [], "What to evaluate, as for evaluate.py; results that exist are kept.", values)
    flags.DEFINE_list("problem", ["mnist", "mnist_relu", "mnist_deeper"], "On what.", values)
    flags.DEFINE_integer("num_runs", 10, "Runs per optimizer and problem.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("num_steps", 10_000, "Steps per run.", lower_bound=1, flag_values=values)
    flags.DEFINE_string("results", "results/reproduction", "Folder of the result files.", flag_values=values)
    flags.DEFINE_string("document", None, "Document whose tables are written; default: they are printed.", values)
    flags.DEFINE_string("data_dir", None, "TFDS directory; MNIST is needed, nothing takes its place.", values)


def evaluate_missing(values: flags.FlagValues, folder: Path) -> None:
    """Evaluates what has no result file yet."""
    from l2o_tf.common.writing import write_atomically
    from l2o_tf.evaluating import comparison
    from problems import make_problem

    options = {"mode": "test", "data": "tfds", "data_dir": values.data_dir}
    optimizers = comparison.with_cards(list(dict.fromkeys(values.optimizer)))
    pairs = comparison.all_pairs(optimizers, [make_problem(name, **options) for name in dict.fromkeys(values.problem)])
    files = {folder / results.file_name(*pair.names, ".json"): pair for pair in pairs}
    if len(files) < len(pairs):
        names = [optimizer.name for optimizer, _ in optimizers]
        raise ValueError(
            f"Received optimizers {names} on {list(values.problem)}, of which two would share a result file. Evaluate "
            "one of them with another --results."
        )
    kept = {path: pair for path, pair in files.items() if path.exists()}
    for path, pair in kept.items():
        _check(path, pair, values)
        results.remove_pair(folder, pair.names)
    if kept:
        print(f"Not run again, since {folder} has it: {', '.join(path.name for path in kept)}.", file=sys.stderr)
    missing = [pair for path, pair in files.items() if path not in kept]
    settings = {"seed": 0, "num_runs": values.num_runs, "num_steps": values.num_steps}
    for result in comparison.run_each(missing, folder, **settings):
        record = {name: getattr(result, name) for name in ("problem", "optimizer", "data", "identity", "summary")}
        record["meta_training"] = {key: result.card[key] for key in _KEPT if key in result.card}
        record["provenance"] = result.provenance
        path = folder / results.file_name(result.problem, result.optimizer, ".json")
        write_atomically(path, json.dumps(record, indent=1).encode())
        results.remove_pair(folder, result.names)


def _check(path: Path, pair: Any, values: flags.FlagValues) -> None:
    """Refuses a result file of another evaluation than the one asked for. Older files say less about theirs."""
    found, identity = results.read_file(path), pair.identity
    there = {"num_runs": found["summary"]["runs"], "num_steps": found["summary"]["steps"], "data": found["data"]}
    now = {"num_runs": values.num_runs, "num_steps": values.num_steps, "data": identity["problem"]["data"]}
    if "identity" in found:
        there |= found["identity"]["problem"] | found["identity"]["optimizer"]
        now |= results.known(there, identity["problem"] | identity["optimizer"])
    elif weights := (found.get("meta_training") or {}).get("weights"):
        there |= {"weights": weights["sha256"]}
        now |= {"weights": pair.card.get("weights", {}).get("sha256")}
    if differing := results.contradictions(there, now):
        raise ValueError(
            f"Received {path}, a result of something else ({differing}). Use another --results, or remove that file to "
            "evaluate anew."
        )


def tables(found: Sequence[dict], recorded: Sequence[dict] = ()) -> str:
    """Results as Markdown: all problems at a glance, then a table or two for each, with what is recorded beside."""
    known = [*PROBLEMS, *sorted({result["problem"] for result in found} - {*PROBLEMS})]
    problems = [problem for problem in known if any(result["problem"] == problem for result in found)]
    parts = [_overview(found, problems)]
    for problem in problems:
        own = [result for result in found if result["problem"] == problem]
        beside = [result for result in recorded if result["problem"] == problem and not _is_variant(result)]
        parts.append(f"### {problem}\n\nData: {own[0]['data']}.\n")
        parts += _table([result for result in own if not _is_variant(result)])
        parts += [_row(result, f"*recorded: {result['optimizer']}*") for result in beside]
        for name, means in PAPER["ln_loss"].get(problem, {}).items():
            at = dict(zip(PAPER["steps"], means, strict=True))
            parts.append(_line(f"*paper: {name}*", "10", *(_number(at.get(step), "") for step in STEPS)) + " |")
        parts.append("")
        if variants := [result for result in own if _is_variant(result)]:
            parts += ["Variants:\n", *_table(variants), ""]
    return "\n".join(parts)


def _overview(found: Sequence[dict], problems: list[str]) -> str:
    """A row per optimizer, a column per problem: ours at the last step, the released weights, the paper."""
    ends = {(result["optimizer"], result["problem"]): result["summary"]["at"][-1]["mean"] for result in found}

    def cell(name: str, problem: str) -> str:
        means = [ends.get((each, problem)) for each in (name, f"{RELEASED.get(name)} (original)")]
        means.append(
            dict(zip(PAPER["steps"], PAPER["ln_loss"].get(problem, {}).get(name, ()), strict=False)).get(10_000)
        )
        return "" if means == [None, None, None] else " / ".join(_number(mean, "–") for mean in means)

    names = sorted({result["optimizer"] for result in found if "(" not in result["optimizer"]})
    lines = [
        "### At a glance\n",
        "ln loss at the last step: ours / the released weights / the paper's figure.\n",
        *_head("optimizer", *problems),
        *(_line(name, *(cell(name, problem) for problem in problems)) for name in names),
    ]
    return "\n".join([*lines, ""])


def _is_variant(result: dict) -> bool:
    """Whether this is neither what ships nor what was released."""
    return "(" in result["optimizer"] and not result["optimizer"].endswith("(original)")


def _table(found: Sequence[dict]) -> list[str]:
    head = _head("optimizer", "runs", *(f"{step:,}" for step in STEPS), "diverged")
    return [*head, *(_row(result, result["optimizer"]) for result in found)]


def _row(result: dict, name: str) -> str:
    at = {entry["step"]: entry for entry in result["summary"]["at"]}
    cells = [summary.format_cell(at.get(step)) for step in STEPS]
    return _line(name, str(result["summary"]["runs"]), *cells, f"{at[max(at)]['diverged']:.0%}")


def _head(*names: str) -> list[str]:
    return [_line(*names), "|---" * len(names) + "|"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(mean: float | None, missing: str) -> str:
    return missing if mean is None else f"{mean:.2f}"


def around_tables(document: Path) -> tuple[str, str]:
    """What a document has before its tables and after them; a ValueError if it lacks the marks or cannot be written."""
    if not (document.is_file() and os.access(document, os.W_OK)):
        raise ValueError(f"Received --document={document}, expected a file that can be written.")
    before, _, rest = document.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"Received --document={document}, expected the lines {BEGIN!r} and {END!r} in it.")
    return before, after


def show(folder: Path, document: Path | None) -> None:
    """Prints the tables of a folder, or puts them between the marks of a document."""
    found = [results.read_file(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise ValueError(
            f"Received --results={folder}, without result files, and no --optimizer to evaluate. Name one. "
            "Earlier measurements are in docs/reproduction-tables.md."
        )
    if document:
        before, after = around_tables(document)
        document.write_text(f"{before}{BEGIN}\n{tables(found)}{END}{after}")
        print(f"{len(found)} results of {folder} in {document}")
        return
    is_recorded = folder.resolve() == RECORDED.resolve()
    print(tables(found, [] if is_recorded else [results.read_file(path) for path in sorted(RECORDED.glob("*.json"))]))
    print(f"{len(found)} results, from {folder}. Rows called 'recorded' are from {RECORDED}, 'paper' from its figures.")


def main(values: flags.FlagValues) -> int:
    """Evaluates what is missing, then shows the tables."""
    folder, document = Path(values.results), Path(values.document) if values.document else None
    if document:
        around_tables(document)  # an error is told now, and not after hours
    if values.optimizer:
        folders.make_folder(values.results, "results")
        console.import_tensorflow()
        with folders.alone_in(folder, "results"):
            evaluate_missing(values, folder)
    show(folder, document)
    return 0


def run() -> None:
    """Entry point of the command."""
    console.run(define_flags, main)
