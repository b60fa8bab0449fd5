"""The tasks of a study: which there are, how far each is, and by which commands it is done. No TensorFlow.

A task trains an arm (a recipe, in a setting if there are any) with one seed, and evaluates the weights. There is one
more for each reference, an optimizer that is only evaluated. The folders of a task::

    OUTPUT/<arm>-s<seed>            the run of meta_train.py
    OUTPUT/results/<arm>-s<seed>    the results of evaluate.py
    OUTPUT/logs/<arm>-s<seed>.log   what both have said

A folder that is finished has a mark, `study.json`: the options and the weights. While they are the same, the script is
not started again. Else the script decides: meta_train.py goes on with a larger `--num_epochs`, evaluate.py adds a
problem, and both refuse what does not fit the folder.
"""

import contextlib
import itertools
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from l2o_tf.cli import config, console, evaluate, meta_train
from l2o_tf.cli.children import Job
from l2o_tf.common.reading import read_json
from l2o_tf.common.writing import write_atomically
from l2o_tf.recording.records import RECORDS
from l2o_tf.saving import CARD

MARK = "study.json"
TAIL = 2**13
"""Bytes at the end of the records that have the last one."""


class Step(NamedTuple):
    """One command of a task: a script, its arguments, the folder that it fills, and the options that matter there."""

    script: str
    arguments: Sequence[str]
    folder: Path
    options: Mapping[str, Any]

    def is_done(self, weights: str | None) -> bool:
        """Whether the folder is finished, with these weights."""
        path = self.folder / MARK
        return path.exists() and read_json(path) == {"options": self.options, "weights": weights}

    def mark(self, weights: str | None) -> None:
        """Says that the folder is finished."""
        write_atomically(
            self.folder / MARK, json.dumps({"options": self.options, "weights": weights}, indent=1).encode()
        )


class Task(NamedTuple):
    """An arm of the study with one seed, or a reference.

    Attributes:
        name: `"dm-s1"`, `"Adam_0.01"`.
        recipe, arm, seed: `"dm"`, `"dm-full"`, 1; of a reference `""`, `"Adam:0.01"` and None.
        output: folder of the study.
        training: of a reference, None.
        evaluation: None if there is to be none.
        epochs: meta-epochs at most.
    """

    name: str
    recipe: str
    arm: str
    seed: int | None
    output: Path
    training: Step | None
    evaluation: Step | None
    epochs: int

    @property
    def log(self) -> Path:
        """What its commands say."""
        return self.output / "logs" / f"{self.name}.log"

    @property
    def card(self) -> Mapping[str, Any] | None:
        """Of the weights of the run; None if there are none yet."""
        path = self.output / self.name / CARD
        return read_json(path) if self.training and path.exists() else None

    @property
    def weights(self) -> str | None:
        """Their SHA-256."""
        card = self.card
        return card["weights"]["sha256"] if card else None

    @property
    def left(self) -> list[Step]:
        """The steps that are not done."""
        weights = self.weights
        return [step for step in (self.training, self.evaluation) if step and not step.is_done(weights)]

    @property
    def epoch(self) -> int:
        """Meta-epochs done; all of them if the training has ended by itself."""
        is_trained = self.training not in self.left
        return self.epochs if is_trained else min(_recorded(self.training.folder / RECORDS), self.epochs)

    @property
    def share(self) -> float:
        """How much of the task is done, from 0 to 1; a training counts ten times as much as an evaluation."""
        shares = {10: self.epoch / self.epochs} if self.training else {}
        shares |= {1: self.evaluation not in self.left} if self.evaluation else {}
        return sum(weight * share for weight, share in shares.items()) / sum(shares)

    @property
    def state(self) -> str:
        """How far it is, in words."""
        left, epoch = self.left, self.epoch
        if self.training in left:
            return f"{epoch:,} of at most {self.epochs:,} meta-epochs" if epoch else "not begun"
        return "not evaluated" if left else "done"

    def job(self) -> Job:
        """What is left to do."""
        return Job(self.name, self.log, self._commands())

    def _commands(self) -> Iterator[list[str]]:
        for step in filter(None, (self.training, self.evaluation)):
            if not step.is_done(self.weights):  # asked after the training, which may change them
                yield script(step.script, *step.arguments)
                step.mark(self.weights)


def script(name: str, *arguments: str) -> list[str]:
    """A command that does what the script does, wherever the package is."""
    path = [str(Path(__file__).parents[2])]
    code = f"import sys; sys.argv[0] = '{name}.py'; sys.path += {path}; from l2o_tf.cli.{name} import run; run()"
    return [sys.executable, "-c", code, *arguments]


def tasks(
    output: Path,
    recipes: Sequence[str],
    seeds: Sequence[str],
    *,
    settings: Sequence[str] = (),
    train_with: Sequence[str] = (),
    references: Sequence[str] = (),
    evaluate_with: Sequence[str] | None = None,
) -> list[Task]:
    """Recipes × settings × seeds, all arms with the first seed first; then the references.

    Args:
        output: folder of the study.
        recipes: flagfiles of meta_train.py.
        seeds: whole numbers.
        settings: `"NAME: --flag=value ..."`: arguments of meta_train.py that distinguish a setting.
        train_with: arguments of meta_train.py, which all trainings have.
        references: optimizers that are evaluated beside, as evaluate.py names them.
        evaluate_with: arguments of evaluate.py; None: nothing is evaluated.

    Raises:
        ValueError: if there is no training, if two tasks have the same name, or if a script would refuse its arguments.
    """
    found: list[Task] = []
    for seed, recipe, setting in itertools.product(seeds, recipes, settings or [""]):
        name, _, own = setting.partition(":")
        arm = "-".join(filter(None, (Path(recipe).stem, name.strip())))
        try:
            training, epochs = _training(output, arm, [f"--flagfile={recipe}"], [*train_with, *shlex.split(own)], seed)
        except ValueError as error:
            raise ValueError(f"Training of {arm} with seed {seed}: {error}") from error
        number, folder = training.options["seed"], training.folder
        evaluation = _evaluation(output, str(folder), folder.name, evaluate_with)
        found.append(Task(folder.name, Path(recipe).stem, arm, number, output, training, evaluation, epochs))
    if not found:
        raise ValueError("Received no recipe or no seed, expected at least one of each. See --help.")
    for optimizer in references:
        name = optimizer.replace(":", "_").replace("/", "_")
        evaluation = _evaluation(output, optimizer, name, evaluate_with)
        found.append(Task(name, "", optimizer, None, output, None, evaluation, 0))
    names = [task.name for task in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"Received two tasks called {twice[0]}, expected different recipes, settings and seeds.")
    return found


def _training(output: Path, arm: str, recipe: list[str], own: Sequence[str], seed: str) -> tuple[Step, int]:
    """The training, and its meta-epochs at most."""
    require_free(meta_train, own, "seed", "output_dir")
    options = _given(meta_train, [*recipe, *own, f"--seed={seed}"])
    folder = output / f"{arm}-s{options['seed']}"
    arguments = [*recipe, *own, f"--seed={seed}", f"--output_dir={folder}"]
    options = {name: value for name, value in options.items() if name in config.FIELDS}
    return Step("meta_train", arguments, folder, options), config.resolve(options).num_epochs


def _evaluation(output: Path, optimizer: str, name: str, own: Sequence[str] | None) -> Step | None:
    if own is None:
        return None
    folder = output / "results" / name
    arguments = [*own, f"--optimizer={optimizer}", f"--output_dir={folder}"]
    return Step("evaluate", arguments, folder, _given(evaluate, own))


def require_free(script: Any, own: Sequence[str], *names: str) -> None:
    """Refuses flags that the study sets itself."""
    if taken := sorted(_given(script, own).keys() & set(names)):
        raise ValueError(f"Received --{taken[0]}, which the study sets itself. Drop it.")


def _given(script: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """The flags of a script that are given, with their values; ValueError if they are none."""
    values = flags.FlagValues()
    script.define_flags(values)
    try:
        rest = values(["", *map(console.with_recipe, arguments)])[1:]
    except flags.Error as error:
        raise ValueError(f"{error}.") from error
    if rest:
        raise ValueError(f"Received {' '.join(rest)!r}, which is no flag. Flags begin with --.")
    return {name: values[name].value for name in values if values[name].present}


def _recorded(records: Path) -> int:
    """Meta-epochs that the records have; their end is enough to know."""
    with contextlib.suppress(OSError), records.open("rb") as file:
        file.seek(max(0, records.stat().st_size - TAIL))
        for line in reversed(file.read().split(b"\n")):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return json.loads(line)["meta_epoch"] + 1
    return 0
