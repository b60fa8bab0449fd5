"""Evaluates optimizers, learned and hand-designed, on optimizees they may never have seen.

    python evaluate.py --optimizer=L2O-DM-CL-IL
    python evaluate.py --optimizer=L2O-DM-CL-IL,Adam,runs/my-run --problem=mnist,mnist_relu --num_runs=10
    python evaluate.py --optimizer=Adam:0.001,Adam:0.003,Adam:0.01 --split=train --num_steps=2000
    python evaluate.py --plot_only --x_scale=log

Here --optimizer names trained weights or rules such as Adam; in meta_train.py it names the architecture to train.
`l2o_tf.evaluate` does the same in Python.

Every optimizer starts run r from the same parameters and sees the same minibatches. The script prints a table, and
writes `curves.npz`, `summary.json` and `curves.png` in --output_dir; `evaluating/results.py` describes them. Results
that the folder has are kept, and drawn with the new ones. So several commands can fill one folder. A command that does
not fit the results in the folder is refused. The same command continues an interrupted evaluation.
Several machines share out the runs: start the same command on each, with TF_CONFIG or --workers, see docs/scaling.md.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

from l2o_tf.cli import console
from l2o_tf.common import folders


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this script."""
    text = "Weights or rules: shipped names, Adam, SGD:0.1, ..., folders of meta-trainings, weight files."
    flags.DEFINE_list("optimizer", ["L2O-DM-CL-IL"], text, flag_values=values)
    text = "Run Python code in the weights folders of --optimizer. Without this flag, an error names the file."
    flags.DEFINE_boolean("allow_code", False, text, flag_values=values)
    text = "Optimizees: names of `python -m problems --list`, or path/to/file.py:function."
    flags.DEFINE_list("problem", ["mnist"], text, flag_values=values)
    text = "Learning rate of the analytic optimizers that are named without one; default: 0.01."
    flags.DEFINE_float("learning_rate", None, text, flag_values=values)
    flags.DEFINE_integer("num_steps", 10_000, "Steps per run.", lower_bound=1, flag_values=values)
    text = "Runs per optimizer and problem, from different starting points."
    flags.DEFINE_integer("num_runs", 10, text, lower_bound=1, flag_values=values)
    text = "Decides starting points and minibatches."
    flags.DEFINE_integer("seed", 0, text, lower_bound=0, upper_bound=2**31 - 1, flag_values=values)
    text = "Loss after each update on a fresh minibatch, or before it."
    flags.DEFINE_enum("record", "after", ["after", "before"], text, flag_values=values)
    text = "Loss and accuracy over the whole data set every so many steps, a multiple of 100; 0: never."
    flags.DEFINE_integer("full_period", 0, text, lower_bound=0, flag_values=values)
    text = "Runs that take their steps together, a divisor of --num_runs; for GPUs. Not for L2O-Scale."
    flags.DEFINE_integer("side_by_side", 1, text, lower_bound=1, flag_values=values)
    text = "Where images come from: 'auto', 'tfds', 'embedded'."
    flags.DEFINE_enum("data", "auto", ["auto", "tfds", "embedded"], text, flag_values=values)
    flags.DEFINE_string("data_dir", None, "TFDS directory; default: $TFDS_DATA_DIR, then TFDS's own default.", values)
    text = "'original' (the test images, as the original program), 'train', 'test', or 'held_out' (to choose by)."
    flags.DEFINE_enum("split", "original", ["original", "train", "test", "held_out"], text, flag_values=values)
    flags.DEFINE_string("output_dir", "results", "Folder of curves.npz, summary.json, curves.png.", flag_values=values)
    flags.DEFINE_enum("x_scale", "linear", ["linear", "log"], "Step axis of the plot.", flag_values=values)
    text = "Evaluate nothing; draw the results in --output_dir again. Use it with that flag and --x_scale only."
    flags.DEFINE_boolean("plot_only", False, text, flag_values=values)
    console.define_workers(values)


def _problems(values: flags.FlagValues) -> list:
    from problems import make_problem

    names = dict.fromkeys(values.problem)
    options = {"data": values.data, "data_dir": values.data_dir, "split": values.split}
    problems = [make_problem(name, mode="test", **options) for name in names]
    with_data = [problem.data.name for problem in problems if problem.data]
    images = [name for name in with_data if name != "digits"]  # which are always embedded
    embedded = values.data == "embedded"
    taken = {"data": with_data if embedded else images, "data_dir": images and not embedded, "split": with_data}
    for name, value in options.items():
        if value != values[name].default and not taken[name]:
            raise ValueError(
                f"Received --{name}={value} with --data={values.data} and --problem={','.join(names)}, which have no "
                f"use for it. Drop --{name}."
            )
    return problems


def evaluate(values: flags.FlagValues) -> Any:
    """Evaluates what the folder lacks; returns all `Results` that it then has."""
    for name in ("optimizer", "problem"):
        if not values[name].value:
            raise ValueError(f"Received no --{name}, expected at least one.")
        if bad := [each for each in values[name].value if not each.isprintable()]:
            raise ValueError(f"Received --{name}={bad[0][:80]!r}, which cannot be printed. Rename that file or folder.")
    workers = console.connected(values)
    from l2o_tf.evaluating import comparison
    from l2o_tf.saving.loading import is_analytic

    names = list(dict.fromkeys(values.optimizer))
    if values.learning_rate is not None and not any(is_analytic(name) and ":" not in name for name in names):
        raise ValueError(f"Received --learning_rate with {names}, none of which takes it. Add Adam, say, or drop it.")
    optimizers = comparison.with_cards(names, values.learning_rate, allow_code=values.allow_code)
    pairs = comparison.all_pairs(optimizers, _problems(values))
    options = {name: values[name].value for name in ("seed", "num_runs", "num_steps", "record", "full_period")}
    options |= {"side_by_side": values.side_by_side, "workers": workers}
    if not workers.is_chief:
        comparison.evaluate_pairs(pairs, **options)
        return None
    folder = folders.make_folder(values.output_dir)
    with folders.alone_in(folder):
        try:
            return comparison.evaluate_pairs(pairs, folder, **options)
        except KeyboardInterrupt:
            print("The same command continues.", file=sys.stderr)
            raise


def main(values: flags.FlagValues) -> int:
    """Prints the table, draws the picture, and says where the files are; evaluates before, unless `--plot_only`."""
    from l2o_tf.evaluating import results

    folder = Path(values.output_dir)
    if values.plot_only:
        given = [f"--{flag.name}" for flag in values.get_flags_for_module(__name__) if flag.present]
        if useless := [name for name in given if name not in ("--plot_only", "--output_dir", "--x_scale")]:
            raise ValueError(f"Received --plot_only with {', '.join(useless)}, which it has no use for. Drop them.")
    found = results.Results.read(folder) if values.plot_only else evaluate(values)
    if found is None:  # of a worker whose chief has the results
        return 0
    print(found.table())
    found.plot(folder / results.PICTURE, x_scale=values.x_scale)
    files = {"Curves": results.CURVES, "Summary": results.SUMMARY, "Picture": results.PICTURE}
    print("", *(f"{what}: {folder / name}" for what, name in files.items() if (folder / name).exists()), sep="\n")
    return 0


def run():
    """Entry point of the installed command."""
    console.run(define_flags, main)
