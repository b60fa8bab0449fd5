"""What is measured: which cases there are, in which groups, and in which order they take turns.

A *case* is one method of doing one phase of the work, for one optimizer on one problem. Cases that do the same work
form a *group*, and only cases of a group are compared. Plain data; nothing here imports TensorFlow.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.floor import CELLS

BASELINE, FLOOR = "plain", "floor"

PERCEPTRONS: dict[str, tuple[tuple[int, ...], str]] = {
    "mnist": ((20,), "sigmoid"),
    "mnist_relu": ((20,), "relu"),
    "mnist_deeper": ((20, 20), "sigmoid"),
}
"""Problems that the JAX peer has: hidden layers, activation."""

METHODS: dict[str, dict[str, str]] = {
    "training": {
        "floor": "the matrix products and transcendental functions of that step by NumPy, and nothing else",
        "plain": "automatic differentiation of the same unroll, optimizee and all",
        "plain-xla": "the same, compiled by XLA",
        "ours": "what meta_train.py runs",
        "ours-xla": "the same, compiled by XLA",
        "second": "what meta_train.py runs with --second_derivatives",
        "second-xla": "the same, compiled by XLA",
        "jax": "a scan written by hand in JAX (benchmarks/peers/jax_scan.py)",
    },
    "evaluation": {
        "floor": "the matrix products and transcendental functions of that step by NumPy, and nothing else",
        "plain": "a loop over loss, gradient and update, and nothing else",
        "plain-xla": "the same, compiled by XLA",
        "ours": "what evaluate.py runs",
        "ours-xla": "the same, compiled by XLA",
        "adam": "what evaluate.py runs with Adam: what remains without a network",
        "adam-xla": "the same, compiled by XLA",
        "jax": "a scan written by hand in JAX (benchmarks/peers/jax_scan.py)",
    },
}
"""Phase -> method -> what it is. Without `-xla`, TensorFlow executes the graph of a `tf.function`."""


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


def exists(case: Case) -> bool:
    """Whether there is such a method for that problem and optimizer."""
    if case.method == "jax":
        return case.problem in PERCEPTRONS and case.optimizer == "L2O-DM"
    return case.method != FLOOR or case.optimizer in CELLS


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
    """The cases, group by group; a method that a phase, a problem or an optimizer does not have is left out.

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
        [
            case
            for method in METHODS[phase]
            if method in methods and exists(case := Case(problem, optimizer, phase, method))
        ]
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
