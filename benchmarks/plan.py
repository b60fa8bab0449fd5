"""What is measured: which cases there are, in which groups, and in which order they take turns.

A *case* is one method of doing one phase of the work, for one optimizer on one problem. Cases that do the same work
form a *group*, and only cases of a group are compared. Plain data; nothing here imports TensorFlow.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BASELINE = "plain"

METHODS: dict[str, dict[str, str]] = {
    "training": {
        "plain": "automatic differentiation of the same unroll, without the linearised loss",
        "plain-xla": "the same, compiled by XLA",
        "ours": "what meta_train.py runs",
        "ours-xla": "the same, compiled by XLA",
        "second": "what meta_train.py runs with --second_derivatives",
        "second-xla": "the same, compiled by XLA",
    },
    "evaluation": {
        "plain": "a loop over loss, gradient and update, and nothing else",
        "plain-xla": "the same, compiled by XLA",
        "ours": "what evaluate.py runs",
        "ours-xla": "the same, compiled by XLA",
        "adam": "what evaluate.py runs with Adam: the floor, since no learned update is cheaper",
        "adam-xla": "the same, compiled by XLA",
    },
}
"""Phase -> method -> what it is. Everything is a `tf.function`; without `-xla`, TensorFlow executes the graph."""


class Case(NamedTuple):
    """One row of the table.

    Attributes:
        problem: a name in `problems.PROBLEMS`.
        optimizer: architecture of the learned optimizer, a name in `l2o_tf.optimizers.CELLS`.
        phase: `"training"`: windows of `unroll_length` steps, each with the meta-gradient and the meta-optimizer's
            update; or `"evaluation"`: steps only.
        method: a name in `METHODS[phase]`.
    """

    problem: str
    optimizer: str
    phase: str
    method: str


class Settings(NamedTuple):
    """What all cases have in common.

    Attributes:
        num_steps: optimizee steps per repetition.
        unroll_length: T of a window of meta-training; divides `num_steps`.
        data, data_dir: as in meta_train.py.
    """

    num_steps: int
    unroll_length: int
    data: str = "auto"
    data_dir: str | None = None


def groups(
    problems: Sequence[str], optimizers: Sequence[str], phases: Sequence[str], methods: Sequence[str]
) -> list[list[Case]]:
    """The cases, group by group; a method that a phase does not have is left out of it.

    Raises:
        ValueError: on an unknown phase or method, or if nothing is left to measure.
    """
    known = list(dict.fromkeys(method for phase in METHODS.values() for method in phase))
    for what, names, expected in (("phase", phases, list(METHODS)), ("method", methods, known)):
        for name in names:
            if name not in expected:
                close = difflib.get_close_matches(name, expected, n=1)
                hint = f" Did you mean {close[0]}?" if close else ""
                raise ValueError(f"Received --{what}={name}, expected some of {', '.join(expected)}.{hint}")
    found = [
        [Case(problem, optimizer, phase, method) for method in METHODS[phase] if method in methods]
        for problem in dict.fromkeys(problems)
        for optimizer in dict.fromkeys(optimizers)
        for phase in dict.fromkeys(phases)
    ]
    found = [group for group in found if group]
    if not found:
        raise ValueError("Received options that leave nothing to measure; drop --method or --phase.")
    return found


def check_sizes(num_steps: int, unroll_length: int, repetitions: int) -> None:
    """Raises a ValueError for sizes that are not positive, or steps that are no whole number of windows."""
    for name, value in {"num_steps": num_steps, "unroll_length": unroll_length, "repetitions": repetitions}.items():
        if value < 1:
            raise ValueError(f"Received --{name}={value}, expected a positive integer.")
    if num_steps % unroll_length:
        raise ValueError(f"Received --num_steps={num_steps}, expected a multiple of --unroll_length={unroll_length}.")


def turns(num_cases: int, repetitions: int) -> Iterator[int]:
    """Whose turn it is: every case once per round, and every round begins with the next case.

    Slow drifts of the machine then hit all cases alike, and none always has the same place in a round.

    >>> list(turns(3, 2))
    [0, 1, 2, 1, 2, 0]
    """
    for repetition in range(repetitions):
        for place in range(num_cases):
            yield (repetition + place) % num_cases
