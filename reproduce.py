"""Evaluates optimizers as the paper does, and writes the tables of docs/reproduction.md.

    python reproduce.py --optimizer=L2O-DM,L2O-DM-CL-IL,Adam
    python reproduce.py --optimizer=path/to/cw.l2l-0           # the original's released weights
    python reproduce.py                                        # only writes the tables anew

10,000 steps, 10 runs, by default on the paper's three multilayer perceptrons; `--problem=mnist_conv,cifar_conv` are its
others, and `--problem=lenet,nas --num_steps=2000 --num_runs=3` those of its figure 7. Every optimizer and problem has a
result file of its own in --results; those that exist are not run again, and one that was cut off goes on where it was.
"""

import json
from pathlib import Path

from absl import flags

from l2o_tf import console

STEPS = (100, 1000, 2000, 5000, 10_000)
BEGIN, END = "<!-- tables: python reproduce.py -->", "<!-- end of tables -->"

PAPER = json.loads((Path(__file__).parent / "experiments" / "paper_figures.json").read_text())
"""ln loss of the paper's figures by problem and optimizer, at three steps."""

RELEASED = {"L2O-DM": "dm", "L2O-DM-CL": "dm_cl", "L2O-DM-CL-IL": "dm_cl_il", "RNNprop-CL-IL": "rnnprop_cl_il"}
"""What ships -> the released weights of the same name."""

_KEPT = ("config", "validation", "weights", "provenance", "interpolated", "adjusted")
"""What a result file keeps of the card of a trained optimizer."""

PROBLEMS = (*PAPER["ln_loss"], "lenet", "nas")
"""The paper's optimizees, in its order: those of figure 2, then those of figure 7."""


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this script."""
    text = "What to evaluate, as for evaluate.py; results that exist are kept."
    flags.DEFINE_list("optimizer", [], text, flag_values=values)
    text = "On what."
    flags.DEFINE_list("problem", ["mnist", "mnist_relu", "mnist_deeper"], text, flag_values=values)
    text = "Runs per optimizer and problem."
    flags.DEFINE_integer("num_runs", 10, text, lower_bound=1, flag_values=values)
    flags.DEFINE_integer("num_steps", 10_000, "Steps per run.", lower_bound=1, flag_values=values)
    flags.DEFINE_string("results", "experiments/results", "Folder of the result files.", flag_values=values)
    text = "Document whose tables are written."
    flags.DEFINE_string("document", "docs/reproduction.md", text, flag_values=values)
    text = "TFDS directory; MNIST is needed, nothing takes its place."
    flags.DEFINE_string("data_dir", None, text, flag_values=values)


def evaluate_missing(values: flags.FlagValues) -> None:
    """Evaluates what has no result file yet."""
    from l2o_tf.checkpoint import write_atomically
    from l2o_tf.comparison import Pair, evaluate_all
    from l2o_tf.results import file_name
    from l2o_tf.trained import load_optimizer
    from problems import make_problem

    folder = console.make_folder(values.results, "results")
    options = {"mode": "test", "data": "tfds", "data_dir": values.data_dir}
    pairs = [
        Pair(make_problem(problem, **options), *load_optimizer(name))
        for name in dict.fromkeys(values.optimizer)
        for problem in dict.fromkeys(values.problem)
    ]
    files = {folder / file_name(pair.problem.name, pair.optimizer.name, ".json"): pair for pair in pairs}
    if len(files) < len(pairs):
        names = [pair.optimizer.name for pair in pairs]
        raise ValueError(
            f"Received optimizers {names} on {list(values.problem)}, of which two would share a result file. Evaluate "
            "one of them with another --results."
        )
    missing = [pair for path, pair in files.items() if not path.exists()]
    for result in evaluate_all(missing, folder, num_runs=values.num_runs, num_steps=values.num_steps):
        record = {
            "problem": result.problem,
            "optimizer": result.optimizer,
            "data": result.data,
            "summary": result.summary,
            "meta_training": {key: result.card[key] for key in _KEPT if key in result.card},
            "provenance": result.provenance,
        }
        path = folder / file_name(result.problem, result.optimizer, ".json")
        write_atomically(path, json.dumps(record, indent=1).encode())


def tables(results: list[dict]) -> str:
    """The result files as Markdown: all problems at a glance, then a table or two for each."""
    problems = sorted({result["problem"] for result in results}, key=_place)
    parts = [overview(results, problems)]
    for problem in problems:
        own = [result for result in results if result["problem"] == problem]
        parts.append(f"### {problem}\n\nData: {own[0]['data']}.\n")
        parts += _table([result for result in own if not _is_variant(result)])
        parts += [*(_paper_row(name, at) for name, at in PAPER["ln_loss"].get(problem, {}).items()), ""]
        if variants := [result for result in own if _is_variant(result)]:
            parts += ["Variants:\n", *_table(variants), ""]
    return "\n".join(parts)


def overview(results: list[dict], problems: list[str]) -> str:
    """A row per optimizer, a column per problem: ours at the last step, the released weights, the paper."""
    ends = {(result["optimizer"], result["problem"]): result["summary"]["at"][-1] for result in results}
    names = sorted({result["optimizer"] for result in results if "(" not in result["optimizer"]})

    def cell(name, problem):
        means = [(ends.get((key, problem)) or {}).get("mean") for key in (name, f"{RELEASED.get(name)} (original)")]
        means.append(
            dict(zip(PAPER["steps"], PAPER["ln_loss"].get(problem, {}).get(name, ()), strict=False)).get(10_000)
        )
        texts = ["–" if mean is None else f"{mean:.2f}" for mean in means]
        return "" if means == [None, None, None] else " / ".join(texts)

    lines = [
        "### At a glance\n",
        "ln loss at the last step: ours / the released weights / the paper's figure.\n",
        f"| optimizer | {' | '.join(problems)} |",
        "|---" * (len(problems) + 1) + "|",
    ]
    lines += [f"| {name} | {' | '.join(cell(name, problem) for problem in problems)} |" for name in names]
    return "\n".join([*lines, ""])


def _is_variant(result: dict) -> bool:
    """Whether this is neither what ships nor what was released."""
    return "(" in result["optimizer"] and not result["optimizer"].endswith("(original)")


def _table(results: list[dict]) -> list[str]:
    head = "| optimizer | runs | " + " | ".join(f"{step:,}" for step in STEPS) + " | diverged |"
    return [head, "|---" * (len(STEPS) + 3) + "|", *map(_row, results)]


def _place(problem: str) -> tuple[int, str]:
    return PROBLEMS.index(problem) if problem in PROBLEMS else len(PROBLEMS), problem


def _row(result: dict) -> str:
    from l2o_tf.summary import format_cell

    at = {entry["step"]: entry for entry in result["summary"]["at"]}
    cells = [format_cell(at.get(step)) for step in STEPS]
    diverged = f"{at[max(at)]['diverged']:.0%}"
    return f"| {result['optimizer']} | {result['summary']['runs']} | " + " | ".join([*cells, diverged]) + " |"


def _paper_row(name: str, at: tuple) -> str:
    known = dict(zip(PAPER["steps"], at, strict=True))
    cells = ["" if known.get(step) is None else f"{known[step]:.2f}" for step in STEPS]
    return f"| *paper: {name}* | 10 | " + " | ".join(cells) + " | |"


def write_document(results: list[dict], document: Path) -> None:
    """Puts the tables between the two marks of the document."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"Received --document={document}, expected the lines {BEGIN!r} and {END!r} in it.")
    document.write_text(f"{before}{BEGIN}\n{tables(results)}{END}{after}")


def main(values: flags.FlagValues) -> int:
    """Evaluates what is missing, then writes the tables."""
    if values.optimizer:
        console.import_tensorflow()
        evaluate_missing(values)
    paths = sorted(Path(values.results).glob("*.json"))
    results = [json.loads(path.read_text()) for path in paths]
    write_document(results, Path(values.document))
    print(f"{len(results)} results in {values.document}")
    return 0


if __name__ == "__main__":
    console.run(define_flags, main)
