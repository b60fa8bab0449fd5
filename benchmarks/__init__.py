"""Speed and memory of meta-training and evaluation, beside other programs that do the same work."""

from typing import NamedTuple


class Case(NamedTuple):
    """One row of a table.

    Attributes:
        problem: a name as in `meta_train.py --problem`, or `bowl:N` (`benchmarks.cases.bowl`).
        optimizer: architecture of the learned optimizer, e.g. `"L2O-DM"`.
        phase: `"training"`: windows of `unroll_length` steps, each with its meta-gradient and its update of φ; or
            `"evaluation"`: steps only.
        method: what does the work; `benchmarks.bench_unroll` lists the methods.
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
        data: as in meta_train.py.
    """

    num_steps: int
    unroll_length: int
    data: str = "auto"
