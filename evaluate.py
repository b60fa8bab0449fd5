"""Evaluates optimizers, learned and hand-designed, on optimizees they may never have seen.

    python evaluate.py --optimizer=L2O-DM
    python evaluate.py --optimizer=L2O-DM-CL-IL,Adam,runs/my-run --problem=mnist,mnist_relu --num_runs=10
    python evaluate.py --optimizer=Adam --learning_rate=0.01 --num_steps=2000

Every optimizer starts run r from the same parameters and sees the same minibatches. Out come a table, `curves.npz`,
`summary.json` and `curves.png` in --output_dir.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

_FLAGS = flags.FLAGS
flags.DEFINE_list("optimizer", ["L2O-DM"], "Shipped names, analytic ones (Adam, SGD, ...), run folders, weight files.")
flags.DEFINE_list("problem", ["mnist"], "Optimizees; `python -m problems --list` has the names.")
flags.DEFINE_float("learning_rate", None, "Learning rate of the analytic optimizers; default: 0.01.")
flags.DEFINE_integer("num_steps", 10_000, "Steps per run.", lower_bound=1)
flags.DEFINE_integer("num_runs", 10, "Runs per optimizer and problem, from different starting points.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Decides starting points and minibatches.")
flags.DEFINE_enum("record", "after", ["after", "before"], "Loss after each update on a fresh minibatch, or before it.")
flags.DEFINE_integer("full_period", 0, "Loss and accuracy over the whole data set every so many steps; 0: never.", 0)
flags.DEFINE_string("data", "auto", "Where images come from: 'auto', 'tfds', 'embedded'.")
flags.DEFINE_string("data_dir", None, "TFDS directory; default: $TFDS_DATA_DIR, then TFDS's own default.")
flags.DEFINE_string("split", "original", "'original' (the test images, as the original program), 'train' or 'test'.")
flags.DEFINE_string("output_dir", "results", "Folder for curves.npz, summary.json and curves.png.")
flags.DEFINE_enum("x_scale", "linear", ["linear", "log"], "Step axis of the plot.")


def evaluate_all(values: flags.FlagValues) -> list:
    """Runs every optimizer on every problem; returns `[(problem, optimizer name, card, Evaluation)]`."""
    from l2o_tf.evaluation import evaluate
    from l2o_tf.progress import Progress
    from l2o_tf.trained import load_optimizer
    from problems import make_problem
    from problems.base import make_seed

    names = list(dict.fromkeys(values.optimizer))
    optimizers = [load_optimizer(name, values.learning_rate) for name in names]
    problems = [
        make_problem(name, mode="test", data=values.data, data_dir=values.data_dir, split=values.split)
        for name in dict.fromkeys(values.problem)
    ]
    results = []
    for problem in problems:
        for name, (optimizer, card) in zip(names, optimizers, strict=True):
            progress = Progress(values.num_steps, description=f"{problem.name}: {name}")
            evaluation = evaluate(
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
            results.append((problem, optimizer.name, card, evaluation))
    return results


def write_results(results: list, values: flags.FlagValues) -> str:
    """Writes curves, summary and plot; returns the table."""
    import numpy as np

    from l2o_tf import plots, summary
    from l2o_tf.checkpoint import provenance, write_atomically

    folder = Path(values.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
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
    np.savez_compressed(folder / "curves.npz", **curves)
    given = {name: values[name].value for name in ("num_steps", "num_runs", "seed", "record", "split", "learning_rate")}
    record = {"flags": given, "results": entries, "provenance": provenance()}
    write_atomically(folder / "summary.json", json.dumps(record, indent=2).encode())
    plots.save(plots.evaluation_figure(list(panels.values()), x_scale=values.x_scale), folder / "curves.png")
    return summary.format_table(rows)


def main(argv: list[str]) -> int:
    """Turns flags into evaluations, and errors of the user into exit code 2."""
    try:
        if len(argv) > 1:
            raise ValueError(f"Received unknown arguments {argv[1:]}; options begin with --, see --help.")
        results = evaluate_all(_FLAGS)
        print(write_results(results, _FLAGS))
        print(f"\nCurves, summary and plot: {_FLAGS.output_dir}/curves.npz, summary.json, curves.png")
        return 0
    except (ValueError, OSError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2


def run():
    """Entry point of the installed command."""
    app.run(main, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        return _FLAGS(argv)
    except flags.Error as error:
        print(f"evaluate.py: {error}. See --help.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
