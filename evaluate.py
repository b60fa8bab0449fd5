"""Evaluates optimizers, learned and hand-designed, on optimizees they may never have seen.

    python evaluate.py --optimizer=L2O-DM-CL-IL
    python evaluate.py --optimizer=L2O-DM-CL-IL,Adam,runs/my-run --problem=mnist,mnist_relu --num_runs=10
    python evaluate.py --optimizer=Adam --learning_rate=0.01 --num_steps=2000

Every optimizer starts run r from the same parameters and sees the same minibatches. Out come a table, `curves.npz`,
`summary.json` and `curves.png` in --output_dir.
"""

import io
import json
import os
from pathlib import Path

from absl import flags

from l2o_tf import console


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this script."""
    text = "Shipped names, analytic ones (Adam, SGD, ...), run folders, weight files."
    flags.DEFINE_list("optimizer", ["L2O-DM-CL-IL"], text, flag_values=values)
    text = "Optimizees; `python -m problems --list` has the names."
    flags.DEFINE_list("problem", ["mnist"], text, flag_values=values)
    text = "Learning rate of the analytic optimizers; default: 0.01."
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
    text = "Where images come from: 'auto', 'tfds', 'embedded'."
    flags.DEFINE_enum("data", "auto", ["auto", "tfds", "embedded"], text, flag_values=values)
    text = "TFDS directory; default: $TFDS_DATA_DIR, then TFDS's own default."
    flags.DEFINE_string("data_dir", None, text, flag_values=values)
    text = "'original' (the test images, as the original program), 'train' or 'test'."
    flags.DEFINE_enum("split", "original", ["original", "train", "test"], text, flag_values=values)
    flags.DEFINE_string("output_dir", "results", "Folder of curves.npz, summary.json, curves.png.", flag_values=values)
    flags.DEFINE_enum("x_scale", "linear", ["linear", "log"], "Step axis of the plot.", flag_values=values)


def evaluate_all(values: flags.FlagValues) -> list:
    """Runs every optimizer on every problem; returns `[(problem, optimizer name, card, Evaluation)]`."""
    from l2o_tf import evaluation
    from l2o_tf.progress import Progress
    from problems.base import make_seed

    pairs = [(problem, *optimizer) for problem in _problems(values) for optimizer in _optimizers(values)]
    for problem, optimizer, _ in pairs:
        evaluation.check(problem, optimizer, full_period=values.full_period)
    results = []
    for problem, optimizer, card in pairs:
        progress = Progress(values.num_steps, description=f"{problem.name}: {optimizer.name}")
        found = evaluation.evaluate(
            problem,
            optimizer,
            make_seed(values.seed),
            num_runs=values.num_runs,
            num_steps=values.num_steps,
            record=values.record,
            full_period=values.full_period,
            on_progress=lambda done, loss, progress=progress: progress.update(done, f"loss {loss:.4g}"),
        )
        progress.close()
        results.append((problem, optimizer.name, card, found))
    return results


def _optimizers(values: flags.FlagValues) -> list:
    """`[(optimizer, card)]`; no two have the same name."""
    from l2o_tf.trained import is_analytic, load_optimizer

    names = list(dict.fromkeys(values.optimizer))
    if values.learning_rate is not None and not any(is_analytic(name) for name in names):
        raise ValueError(f"Received --learning_rate with {names}, none of which has one. Add Adam, say, or drop it.")
    optimizers = {name: load_optimizer(name, values.learning_rate) for name in names}
    shown = [optimizer.name for optimizer, _ in optimizers.values()]
    for name, (optimizer, _) in optimizers.items():
        optimizer.name = name if shown.count(optimizer.name) > 1 else optimizer.name
    return list(optimizers.values())


def _problems(values: flags.FlagValues) -> list:
    from problems import make_problem

    names = dict.fromkeys(values.problem)
    options = {"data": values.data, "data_dir": values.data_dir, "split": values.split}
    return [make_problem(name, mode="test", **options) for name in names]


def make_folder(path: str) -> Path:
    """The folder of the results.

    Raises:
        OSError: if it cannot be made or written; now, and not after an hour of evaluation.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"Received --output_dir={folder}, which cannot be written. Choose another folder.")
    return folder


def write_results(results: list, values: flags.FlagValues, folder: Path) -> str:
    """Writes curves, summary and plot; returns the table."""
    import numpy as np

    from l2o_tf import plots, summary
    from l2o_tf.checkpoint import provenance, write_atomically

    curves, entries, rows, panels = {}, [], [], {}
    for problem, name, card, evaluation in results:
        data = str(problem.data) if problem.data else None
        found = summary.summarize(evaluation.losses, seconds=evaluation.seconds)
        rows.append(summary.Row(problem.name, name, found, data))
        entries.append({"problem": problem.name, "optimizer": name, "data": data, "summary": found, "card": card})
        curves[f"{problem.name}/{name}"] = evaluation.losses
        curves |= {f"{problem.name}/{name}/full_{key}": value for key, value in (evaluation.full or {}).items()}
        guess = np.log(10) if problem.data else None
        panel = panels.setdefault(problem.name, plots.Panel(problem.name, {}, data, guess))
        panel.curves[name] = evaluation.losses
    compressed = io.BytesIO()
    np.savez_compressed(compressed, **curves)
    write_atomically(folder / "curves.npz", compressed.getvalue())
    given = {name: values[name].value for name in ("num_steps", "num_runs", "seed", "record", "split", "learning_rate")}
    record = {"flags": given, "results": entries, "provenance": provenance()}
    write_atomically(folder / "summary.json", json.dumps(record, indent=2).encode())
    plots.save(plots.evaluation_figure(list(panels.values()), x_scale=values.x_scale), folder / "curves.png")
    return summary.format_table(rows)


def main(values: flags.FlagValues) -> int:
    """Turns flags into evaluations, and those into files and a table."""
    for name in ("optimizer", "problem"):
        if not values[name].value:
            raise ValueError(f"Received no --{name}, expected at least one.")
    folder = make_folder(values.output_dir)
    console.import_tensorflow()
    print(write_results(evaluate_all(values), values, folder))
    print(f"\nCurves: {folder / 'curves.npz'}\nSummary: {folder / 'summary.json'}\nPicture: {folder / 'curves.png'}")
    return 0


def run():
    """Entry point of the installed command."""
    console.run(define_flags, main)


if __name__ == "__main__":
    run()
