"""The tasks of a study: which there are, how far each is, and by which commands it is done. No TensorFlow.

A task trains an arm (a recipe, with a setting if there are any) with one seed, and evaluates the weights. Its folders::

    OUTPUT/<arm>-s<seed>            the run of meta_train.py, and `study.json` once it is finished
    OUTPUT/results/<arm>-s<seed>    the results of evaluate.py
    OUTPUT/logs/<arm>-s<seed>.log   what both have said

`study.json` has the options of the training. While they are the same, the training is not started again. Else
meta_train.py decides: it goes on with a larger `--num_epochs`, and refuses what is another training.
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

from l2o_tf.cli import config, meta_train
from l2o_tf.cli.children import Job
from l2o_tf.common.reading import read_json
from l2o_tf.common.writing import write_atomically
from l2o_tf.recording.records import RECORDS

MARK = "study.json"
TAIL = 2**13
"""Bytes at the end of the records that have the last one."""


class Task(NamedTuple):
    """An arm of the study with one seed.

    Attributes:
        name, arm, seed: `"dm-s1"`, `"dm"`, 1.
        output: folder of the study.
        arguments: of meta_train.py.
        options: what these arguments say, by the names of `Config`.
        epochs: meta-epochs at most.
    """

    name: str
    arm: str
    seed: int
    output: Path
    arguments: Sequence[str]
    options: Mapping[str, Any]
    epochs: int

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.output / self.name

    @property
    def log(self) -> Path:
        """What its commands say."""
        return self.output / "logs" / f"{self.name}.log"

    @property
    def is_trained(self) -> bool:
        """Whether nothing is left to train."""
        return (self.folder / MARK).exists() and read_json(self.folder / MARK) == {"options": self.options}

    @property
    def epoch(self) -> int:
        """Meta-epochs done; all of them if the training has ended by itself."""
        return self.epochs if self.is_trained else min(_recorded(self.folder / RECORDS), self.epochs)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.is_trained

    @property
    def state(self) -> str:
        """How far it is, in words."""
        if self.is_trained:
            return "trained"
        return f"{self.epoch:,} of at most {self.epochs:,} meta-epochs" if self.epoch else "not begun"

    def job(self) -> Job:
        """What is left to do."""
        return Job(self.name, self.log, self._commands())

    def _commands(self) -> Iterator[list[str]]:
        if not self.is_trained:
            yield script("meta_train", *self.arguments)
            write_atomically(self.folder / MARK, json.dumps({"options": self.options}, indent=1).encode())


def script(name: str, *arguments: str) -> list[str]:
    """A command that does what the script does, wherever the package is."""
    path = [str(Path(__file__).parents[2])]
    code = f"import sys; sys.argv[0] = '{name}.py'; sys.path += {path}; from l2o_tf.cli.{name} import run; run()"
    return [sys.executable, "-c", code, *arguments]


def tasks(
    output: Path, recipes: Sequence[str], settings: Sequence[str], seeds: Sequence[str], arguments: Sequence[str]
) -> list[Task]:
    """Recipes × settings × seeds, all arms with the first seed first.

    Args:
        output: folder of the study.
        recipes: flagfiles of meta_train.py.
        settings: `"NAME: --flag=value ..."`: arguments of meta_train.py that distinguish a setting; possibly none.
        seeds: whole numbers.
        arguments: of meta_train.py, which all trainings have.

    Raises:
        ValueError: if there is none, if two have the same name, or if meta_train.py would refuse the arguments.
    """
    found: dict[str, Task] = {}
    named = [setting.partition(":") for setting in settings] or [("", "", "")]
    for seed, recipe, (name, _, own) in itertools.product(seeds, recipes, named):
        arm = "-".join(filter(None, (Path(recipe).stem, name.strip())))
        try:
            task = _task(output, arm, seed, f"--flagfile={recipe}", split([*arguments, own]))
        except (flags.Error, ValueError) as error:
            raise ValueError(f"Training of {arm} with seed {seed}: {error}") from error
        if task.name in found:
            raise ValueError(f"Received two trainings called {task.name}, expected different recipes, settings, seeds.")
        found[task.name] = task
    if not found:
        raise ValueError("Received no recipe or no seed, expected at least one of each. See --help.")
    return list(found.values())


def split(texts: Sequence[str]) -> list[str]:
    """`["--a=1 --b=2", "--c"]` -> `["--a=1", "--b=2", "--c"]`."""
    return [argument for text in texts for argument in shlex.split(text)]


def _task(output: Path, arm: str, seed: str, recipe: str, own: Sequence[str]) -> Task:
    if _given(own).keys() & {"seed", "output_dir"}:
        raise ValueError("Received --seed or --output_dir, which the study sets itself. Drop it.")
    arguments = [recipe, *own, f"--seed={seed}"]
    given = _given(arguments)
    options = {option: value for option, value in given.items() if option in config.FIELDS}
    name = f"{arm}-s{given['seed']}"
    arguments.append(f"--output_dir={output / name}")
    return Task(name, arm, given["seed"], output, arguments, options, config.resolve(options).num_epochs)


def _given(arguments: Sequence[str]) -> dict[str, Any]:
    """The flags of meta_train.py that are given, with their values; ValueError or flags.Error if they are none."""
    values = flags.FlagValues()
    meta_train.define_flags(values)
    if rest := values(["", *arguments])[1:]:
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
