"""Evaluates optimizers, learned and hand-designed, on optimizees they may never have seen.

    python evaluate.py --optimizer=L2O-DM-CL-IL
    python evaluate.py --optimizer=L2O-DM-CL-IL,Adam,runs/my-run --problem=mnist,mnist_relu --num_runs=10
    python evaluate.py --optimizer=Adam:0.001,Adam:0.003,Adam:0.01 --split=train --num_steps=2000

Every optimizer starts run r from the same parameters and sees the same minibatches. Out come a table, `curves.npz`,
`summary.json` and `curves.png` in --output_dir. The same command continues an evaluation that was interrupted, where
it was about a minute before; if its states are more than 1 GiB, from the last optimizer and problem that were done.
"""

import math
import sys
from pathlib import Path

from absl import flags

from l2o_tf import console


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this script."""
    text = "Shipped names, analytic ones (Adam, SGD:0.1, ...), run folders, weight files."
    flags.DEFINE_list("optimizer", ["L2O-DM-CL-IL"], text, flag_values=values)
    text = "Optimizees: names of `python -m problems --list`, or path/to/file.py:function."
    flags.DEFINE_list("problem", ["mnist"], text, flag_values=values)
    text = "Learning rate of the analytic optimizers that are given without; default: 0.01."
    flags.DEFINE_float("learning_rate", None, text, flag_values=values)
    flags.DEFINE_integer("num_steps", 10_000, "Steps per run.", lower_bound=1, flag_values=values)
    text = "Runs per optimizer and problem, from different starting points."
    flags.DEFINE_integer("num_runs", 10, text, lower_bound=1, flag_values=values)
    text = "Decides starting points and minibatches."
    flags.DEFINE_integer("seed", 0, text, lower_bound=0, upper_bound=2**31 - 1, flag_values=values)
    text = "Loss after each update on a fresh minibatch, or before it."
    flags.DEFINE_enum("record", "after", ["after", "before"], text, flag_values=values)
    text = "Loss and accuracy over the whole data set every so many steps; 0: never."
    flags.DEFINE_integer("full_period", 0, text, lower_bound=0, flag_values=values)
    text = "Runs that take their steps together, a divisor of --num_runs; for GPUs. Not for L2O-Scale."
    flags.DEFINE_integer("side_by_side", 1, text, lower_bound=1, flag_values=values)
    text = "Where images come from: 'auto', 'tfds', 'embedded'."
    flags.DEFINE_enum("data", "auto", ["auto", "tfds", "embedded"], text, flag_values=values)
    text = "TFDS directory; default: $TFDS_DATA_DIR, then TFDS's own default."
    flags.DEFINE_string("data_dir", None, text, flag_values=values)
    text = "'original' (the test images, as the original program), 'train', 'test', or 'held_out' (to choose by)."
    flags.DEFINE_enum("split", "original", ["original", "train", "test", "held_out"], text, flag_values=values)
    flags.DEFINE_string("output_dir", "results", "Folder of curves.npz, summary.json, curves.png.", flag_values=values)
    flags.DEFINE_enum("x_scale", "linear", ["linear", "log"], "Step axis of the plot.", flag_values=values)


def evaluate_all(values: flags.FlagValues, folder: Path) -> list:
    """Evaluates every optimizer on every problem, and writes each result; returns the list of `comparison.Result`."""
    from l2o_tf import comparison
    from l2o_tf.trained import kinds
    from problems.from_file import digests

    options = {name: values[name].value for name in ("seed", "num_runs", "num_steps", "record", "full_period")}
    settings = {**options, "split": values.split, "learning_rate": values.learning_rate}
    options["side_by_side"] = values.side_by_side
    optimizers = _optimizers(values)
    if files := digests([*values.problem, *(name for _, card in optimizers for name in kinds(card))]):
        settings["files"] = files
    pairs = [comparison.Pair(problem, *found) for problem in _problems(values) for found in optimizers]
    before = comparison.unfinished(folder, settings)
    results = [result for pair in pairs for result in before if result.is_of(pair)]
    there = [result.key for result in before]
    order = [pair.key for pair in pairs]
    if there and not set(there) & set(order):
        raise ValueError(
            f"Received --output_dir={folder}, which holds an unfinished evaluation of {', '.join(there)}. Use the same "
            "command to continue it, another folder, or delete that one."
        )
    missing = [pair for pair in pairs if not any(result.is_of(pair) for result in results)]
    if results:
        print(f"Continuing: {len(results)} of {len(pairs)} evaluations are done.", file=sys.stderr)
    for result in comparison.evaluate_all(missing, folder, **options):
        results.append(result)
        comparison.save(folder, results, settings, complete=len(results) == len(pairs))
    if not missing:
        comparison.save(folder, results, settings, complete=True)
    return sorted(results, key=lambda result: order.index(result.key))


def _optimizers(values: flags.FlagValues) -> list:
    """`[(optimizer, card)]`; no two have the same name."""
    from l2o_tf.trained import load_optimizer, wants_learning_rate

    names = list(dict.fromkeys(values.optimizer))
    if values.learning_rate is not None and not any(map(wants_learning_rate, names)):
        raise ValueError(f"Received --learning_rate with {names}, none of which takes it. Add Adam, say, or drop it.")
    optimizers = {name: load_optimizer(name, values.learning_rate) for name in names}
    shown = [optimizer.name for optimizer, _ in optimizers.values()]
    for name, (optimizer, _) in optimizers.items():
        optimizer.name = name if shown.count(optimizer.name) > 1 else optimizer.name
    if any(optimizer.name == "data" for optimizer, _ in optimizers.values()):
        raise ValueError(
            "Received an optimizer called 'data', a name that curves.npz has a use for. Rename its folder."
        )
    return list(optimizers.values())


def _problems(values: flags.FlagValues) -> list:
    from problems import make_problem

    names = dict.fromkeys(values.problem)
    options = {"data": values.data, "data_dir": values.data_dir, "split": values.split}
    return [make_problem(name, mode="test", **options) for name in names]


def present(results: list, folder: Path, x_scale: str) -> str:
    """Draws the picture; returns the table."""
    from l2o_tf import plots, summary
    from problems import PROBLEMS

    rows = [summary.Row(result.problem, result.optimizer, result.summary, result.data) for result in results]
    panels = {}
    for result in results:
        guess = math.log(10) if result.data and result.problem in PROBLEMS else None
        panel = panels.setdefault(result.problem, plots.Panel(result.problem, {}, result.data, guess))
        panel.curves[result.optimizer] = result.losses
    plots.save(plots.evaluation_figure(list(panels.values()), x_scale=x_scale), folder / "curves.png")
    return summary.format_table(rows)


def main(values: flags.FlagValues) -> int:
    """Turns flags into evaluations, and those into files and a table."""
    for name in ("optimizer", "problem"):
        if not values[name].value:
            raise ValueError(f"Received no --{name}, expected at least one.")
    folder = console.make_folder(values.output_dir)
    console.import_tensorflow()
    with console.alone_in(folder):
        print(present(evaluate_all(values, folder), folder, values.x_scale))
    print(f"\nCurves: {folder / 'curves.npz'}\nSummary: {folder / 'summary.json'}\nPicture: {folder / 'curves.png'}")
    return 0


def run():
    """Entry point of the installed command."""
    console.run(define_flags, main)


if __name__ == "__main__":
    run()
