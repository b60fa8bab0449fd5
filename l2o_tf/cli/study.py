"""Meta-trains many recipes with many seeds, evaluates all weights, and shows them in one table and one picture.

    python -m l2o_tf.cli.study recipes/dm.flags recipes/dm_cl.flags --seeds=1,2,3,4,5 --output_dir=studies/mine
    python -m l2o_tf.cli.study recipes/dm.flags --seeds=1,2,3 --setting="k1:" --setting="k4: --meta_batch_size=4"
    python -m l2o_tf.cli.study recipes/dm*.flags --train_with="--num_epochs=400 --ema_momentum=0.99" --list

A task is a recipe (with a setting, if there are any) and a seed. Its run is a folder of meta_train.py,
OUTPUT/<recipe>-<setting>-s<seed>. As many tasks are done at a time as --processes says, each on its share of the cores.
A task that fails does not end the others. The same command continues a study that was stopped or killed, and does not
repeat what is finished. Ctrl-C lets every training finish its meta-epoch and save.

At the end there are table.md, summary.json and study.png: medians over seeds, and their spread. --table_only makes them
of what is there. docs/studies.md explains them, and has examples for job arrays, where each task is a job of its own:

    python -m l2o_tf.cli.study recipes/dm.flags recipes/dm_cl.flags --seeds=1,2,3 --index=$SLURM_ARRAY_TASK_ID
"""

import shlex
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from absl import flags

from l2o_tf.cli import children, console, evaluate, study_tasks
from l2o_tf.cli.study_tasks import Task
from l2o_tf.common import folders
from l2o_tf.common.writing import write_atomically
from l2o_tf.recording.progress import Progress

if TYPE_CHECKING:
    from l2o_tf.evaluating.studies import Member

POSITIONAL = "recipe"
TABLE, SUMMARY, PICTURE = "table.md", "summary.json", "study.png"


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this script."""
    text = "A flagfile of meta_train.py. What is no flag is a recipe, too."
    flags.DEFINE_multi_string("recipe", [], text, flag_values=values)
    flags.DEFINE_list("seeds", ["1", "2", "3", "4", "5"], "Meta-training seeds.", flag_values=values)
    text = "'NAME: --flag=value ...': flags of meta_train.py that one setting has. Every recipe is trained in every "
    text += "setting. Default: one setting without a name."
    flags.DEFINE_multi_string("setting", [], text, flag_values=values)
    text = "Flags of meta_train.py that all trainings have, after the recipe's: '--num_epochs=400'."
    flags.DEFINE_multi_string("train_with", [], text, flag_values=values)
    text = "Evaluate the weights of every finished run on these; --problem= evaluates nothing."
    flags.DEFINE_list("problem", ["mnist", "mnist_relu", "mnist_deeper"], text, flag_values=values)
    flags.DEFINE_integer("num_steps", 10_000, "Steps per run of an evaluation.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("num_runs", 10, "Runs of an evaluation per problem.", lower_bound=1, flag_values=values)
    text = "References that are evaluated, too: 'Adam:0.01', shipped names, folders of other runs."
    flags.DEFINE_list("optimizer", [], text, flag_values=values)
    text = "Further flags of evaluate.py that all evaluations have: '--split=train'."
    flags.DEFINE_multi_string("evaluate_with", [], text, flag_values=values)
    text = "Compare every recipe with this one, seed by seed; or every setting with the one of this name."
    flags.DEFINE_string("baseline", None, text, flag_values=values)
    flags.DEFINE_string("output_dir", "runs/study", "Folder of the study.", flag_values=values)
    text = "Tasks at a time. Default: one for every two cores."
    flags.DEFINE_integer("processes", None, text, lower_bound=1, upper_bound=1024, flag_values=values)
    text = "Do only the task of this number, from 0; for job arrays. --list shows the numbers."
    flags.DEFINE_integer("index", None, text, flag_values=values)
    flags.DEFINE_boolean("list", False, "Show the tasks with their numbers and states; do nothing.", flag_values=values)
    text = "Do no task; show what there is: table.md, summary.json and study.png are made of the result files."
    flags.DEFINE_boolean("table_only", False, text, flag_values=values)


def chosen(values: flags.FlagValues) -> list[Task]:
    """The tasks that the flags ask for."""
    train_with, evaluate_with = map(_split, (values.train_with, values.evaluate_with))
    own = ("problem", "num_steps", "num_runs")
    study_tasks.require_free(evaluate, evaluate_with, *own, "optimizer", "output_dir", "plot_only")
    evaluate_with += [values[name].serialize() for name in own]
    if values.optimizer and not values.problem:
        raise ValueError("Received --optimizer without a --problem to evaluate it on. Add one, or drop it.")
    found = study_tasks.tasks(
        folders.as_path(values.output_dir, "output_dir"),
        values.recipe,
        values.seeds,
        settings=values.setting,
        train_with=train_with,
        references=values.optimizer,
        evaluate_with=evaluate_with if values.problem else None,
    )
    if values.baseline and not any(baseline(task, found, values.baseline) for task in found):
        arms = list(dict.fromkeys(task.arm for task in found))
        raise ValueError(f"Received --baseline={values.baseline}, expected one of {arms}, or the name of a setting.")
    if values.index is None:
        return found
    if values.table_only:
        raise ValueError("Received --table_only with --index; a table is of all tasks. Drop one of them.")
    if not 0 <= values.index < len(found):
        raise ValueError(
            f"Received --index={values.index}, expected 0 to {len(found) - 1}: there are {len(found)} tasks."
        )
    return [found[values.index]]


def _split(texts: Sequence[str]) -> list[str]:
    """`["--a=1 --b=2", "--c"]` -> `["--a=1", "--b=2", "--c"]`."""
    return [argument for text in texts for argument in shlex.split(text)]


def listing(tasks: Sequence[Task]) -> str:
    """A line for each task: number, name, state."""
    width = max(len(task.name) for task in tasks)
    return "\n".join(f"{number:3} {task.name:{width}}  {task.state}" for number, task in enumerate(tasks))


def work(tasks: Sequence[Task], processes: int) -> int:
    """Does what is left of the tasks; returns the exit code."""
    left = [task for task in tasks if task.left]
    print(f"Tasks that are done: {len(tasks) - len(left)}. To do: {len(left)}.", file=sys.stderr)
    if not left:
        return 0
    folders.make_folder(left[0].log.parent)
    shares, before = {task.name: task.share for task in left}, set()

    def done() -> int:
        return int(1000 * sum(shares.values()) / len(shares))

    bar = Progress(1000, initial=done(), description=str(left[0].output), unit="per mille")

    def watch(at_work: Collection[str]) -> None:
        shares.update((task.name, task.share) for task in left if task.name in {*at_work, *before})
        before.clear()
        before.update(at_work)
        count = len(tasks) - sum(share < 1 for share in shares.values())
        doing = ", ".join(f"{name} {shares[name]:.0%}" for name in at_work)
        bar.update(done(), f"{count} of {len(tasks)} tasks done, at work: {doing}")

    group = children.Children(min(processes, len(left)))
    try:
        signal = group.run([task.job() for task in left], watch)
    finally:
        bar.close()
    for task in left:
        if task.name in group.failed:
            print(f"{task.name} failed: {group.failed[task.name]}\nIts log: {task.log}", file=sys.stderr)
    if signal:
        print("Stopped. The same command continues.", file=sys.stderr)
    return 128 + signal if signal else int(bool(group.failed))


def members(tasks: Sequence[Task], num_steps: int, num_runs: int) -> list["Member"]:
    """What the tasks have in their folders: finished trainings, and results of their weights, of these numbers."""
    from l2o_tf.evaluating import results, studies

    found = []
    for task in tasks:
        card, weights = task.card, task.weights
        is_finished = card and (card["stopped"] or card["meta_epochs"] >= task.epochs)
        there = results.find(task.evaluation.folder) if task.evaluation else None
        fits = there and (there.settings["num_steps"], there.settings["num_runs"]) == (num_steps, num_runs)
        own = {each.problem: each for each in there.complete} if fits else {}
        if card:  # they may be of an earlier end of the training
            own = {name: each for name, each in own.items() if each.card["weights"]["sha256"] == weights}
        found.append(studies.Member(task.arm, task.seed, card if is_finished else None, own))
    return found


def show(tasks: Sequence[Task], values: flags.FlagValues) -> None:
    """Names what is missing; prints the table; writes it, the numbers and the picture."""
    from l2o_tf import plots
    from l2o_tf.evaluating import studies

    output, found = tasks[0].output, members(tasks, values.num_steps, values.num_runs)
    for task, member in zip(tasks, found, strict=True):
        if missing := [problem for problem in values.problem if problem not in member.results]:
            print(f"Missing: {task.name} on {', '.join(missing)} ({task.state})", file=sys.stderr)
        elif task.training and not member.card:
            print(f"Missing: {task.name} ({task.state})", file=sys.stderr)
    if not any(member.card or member.results for member in found):
        print(f"No task of this study has ended in {output}. There is no table yet.", file=sys.stderr)
        return
    table = studies.tabulate(found, {task.arm: baseline(task, tasks, values.baseline) for task in tasks})
    print(table)
    write_atomically(output / TABLE, f"{table}\n".encode())
    write_atomically(output / SUMMARY, table.to_json().encode())
    plots.save(plots.study_figure(studies.panels(found)), output / PICTURE)
    print("", *(output / name for name in (TABLE, SUMMARY, PICTURE)), sep="\n")


def baseline(task: Task, tasks: Sequence[Task], name: str | None) -> str:
    """The arm with which that of the task is compared: the one of this name, or its recipe's in this setting."""
    wanted = {name, f"{task.recipe}-{name}"}
    return next((each.arm for each in tasks if each.arm in wanted), "")


def main(values: flags.FlagValues) -> int:
    """Does the tasks, and shows what came of them."""
    tasks = chosen(values)
    if values.list:
        print(listing(tasks))
        return 0
    code = 0
    if not values.table_only:
        processes = 1 if values.index is not None else values.processes or max(1, len(children.cores()) // 2)
        code = work(tasks, processes)
    if values.index is None and code < 128:
        show(tasks, values)
    return code


def run() -> None:
    """Entry point of the installed command."""
    console.run(define_flags, main)


if __name__ == "__main__":
    run()
