"""Meta-trains many recipes with many seeds.

    python -m l2o_tf.cli.study recipes/dm.flags recipes/dm_cl.flags --seeds=1,2,3,4,5 --output_dir=studies/mine
    python -m l2o_tf.cli.study recipes/dm.flags --seeds=1,2,3 --setting="k1:" --setting="k4: --meta_batch_size=4"
    python -m l2o_tf.cli.study recipes/dm*.flags --train_with="--num_epochs=400 --ema_momentum=0.99" --list

A task is a recipe (with a setting, if there are any) and a seed. Its run is a folder of meta_train.py,
OUTPUT/<recipe>-<setting>-s<seed>. As many tasks are done at a time as --processes says, each on its share of the cores.
A task that fails does not end the others. The same command continues a study that was stopped or killed, and does not
repeat what is finished. Ctrl-C lets every training finish its meta-epoch and save.

A scheduler does the tasks one by one, on as many machines as it has:

    python -m l2o_tf.cli.study recipes/dm.flags recipes/dm_cl.flags --seeds=1,2,3 --index=$SLURM_ARRAY_TASK_ID
"""

import shlex
import sys
from collections.abc import Collection, Sequence

from absl import flags

from l2o_tf.cli import children, console, evaluate, study_tasks
from l2o_tf.cli.study_tasks import Task
from l2o_tf.common import folders
from l2o_tf.recording.progress import Progress

POSITIONAL = "recipe"


def define_flags(values: flags.FlagValues) -> None:
    """The flags of this script."""
    text = "A flagfile of meta_train.py; may be repeated. What is no flag is a recipe, too."
    flags.DEFINE_multi_string("recipe", [], text, flag_values=values)
    flags.DEFINE_list("seeds", ["1", "2", "3", "4", "5"], "Meta-training seeds.", flag_values=values)
    text = "'NAME: --flag=value ...': flags of meta_train.py that one setting has; may be repeated. Every recipe is "
    text += "trained in every setting. Default: one setting without a name."
    flags.DEFINE_multi_string("setting", [], text, flag_values=values)
    text = "Flags of meta_train.py that all trainings have, after the recipe's: '--num_epochs=400'. May be repeated."
    flags.DEFINE_multi_string("train_with", [], text, flag_values=values)
    text = "Evaluate the weights of every finished run on these; --problem= evaluates nothing."
    flags.DEFINE_list("problem", ["mnist", "mnist_relu", "mnist_deeper"], text, flag_values=values)
    flags.DEFINE_integer("num_steps", 10_000, "Steps per run of an evaluation.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("num_runs", 10, "Runs of an evaluation per problem.", lower_bound=1, flag_values=values)
    text = "References that are evaluated, too: 'Adam:0.01', shipped names, folders of other runs."
    flags.DEFINE_list("optimizer", [], text, flag_values=values)
    text = "Further flags of evaluate.py that all evaluations have: '--split=train'. May be repeated."
    flags.DEFINE_multi_string("evaluate_with", [], text, flag_values=values)
    flags.DEFINE_string("output_dir", "runs/study", "Folder of the study.", flag_values=values)
    text = "Tasks at a time. Default: one for every two cores."
    flags.DEFINE_integer("processes", None, text, lower_bound=1, upper_bound=1024, flag_values=values)
    text = "Do only the task of this number, from 0; for job arrays. --list shows the numbers."
    flags.DEFINE_integer("index", None, text, flag_values=values)
    flags.DEFINE_boolean("list", False, "Show the tasks with their numbers and states; do nothing.", flag_values=values)


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
    if values.index is None:
        return found
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
    total, begun = sum(task.epochs for task in left), sum(task.epoch for task in left)
    bar = Progress(total, initial=begun, description=str(left[0].output), unit="meta-epoch")

    def watch(at_work: Collection[str]) -> None:
        shares = [f"{task.name} {task.epoch / task.epochs:.0%}" for task in left if task.name in at_work]
        done = len(tasks) - sum(bool(task.left) for task in left)
        bar.update(sum(task.epoch for task in left), f"{done} of {len(tasks)} tasks done, at work: {', '.join(shares)}")

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


def main(values: flags.FlagValues) -> int:
    """Does the tasks."""
    tasks = chosen(values)
    if values.list:
        print(listing(tasks))
        return 0
    processes = 1 if values.index is not None else values.processes or max(1, len(children.cores()) // 2)
    return work(tasks, processes)


def run() -> None:
    """Entry point of the installed command."""
    console.run(define_flags, main)


if __name__ == "__main__":
    run()
