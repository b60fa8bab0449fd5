r"""Perceptrons that no evaluation is reported on: to choose, among trained optimizers, the one that generalises.

    FILE=examples/other_networks.py
    python evaluate.py --optimizer=runs/one,runs/two --problem=mnist,$FILE:tanh,$FILE:elu --split=held_out \
        --num_steps=10000 --num_runs=2 --seed=77
    python evaluate.py --optimizer=runs/one,runs/two --split=train --num_steps=10000 --num_runs=2 --seed=77 \
        --problem=$FILE:ten_thousand,$FILE:ten_thousand_relu,$FILE:ten_thousand_deep

They differ from the paper's in width, depth and activation; `docs/data.md` says what `held_out` is.
"""

from problems import DataOptions, Problem
from problems.images.perceptrons import mnist


def _first_ten_thousand(problem: Problem) -> Problem:
    """The same network on as many images as an evaluation has; to train, or choose, in long runs."""
    return problem._replace(sample=lambda seed, num_steps: problem.sample(seed, num_steps) % 10_000, measure=None)


def ten_thousand(mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """`mnist` on the first 10,000 of its images."""
    return _first_ten_thousand(mnist(mode=mode, data_options=data_options))


def ten_thousand_relu(mode: str = "test", data_options: DataOptions | None = None) -> Problem:
    """784-16-10 with ReLU on the first 10,000 images (12,730 coordinates)."""
    return _first_ten_thousand(mnist(layers=(16,), activation="relu", mode=mode, data_options=data_options))


def ten_thousand_deep(mode: str = "test", data_options: DataOptions | None = None) -> Problem:
    """`deep` on the first 10,000 images."""
    return _first_ten_thousand(deep(mode, data_options))


def tanh(mode: str = "test", data_options: DataOptions | None = None) -> Problem:
    """784-32-10 with tanh on MNIST (25,450 coordinates)."""
    return mnist(layers=(32,), activation="tanh", mode=mode, data_options=data_options)


def elu(mode: str = "test", data_options: DataOptions | None = None) -> Problem:
    """784-16-16-10 with ELU on MNIST (13,002 coordinates): like ReLU without a bound, and never dead."""
    return mnist(layers=(16, 16), activation="elu", mode=mode, data_options=data_options)


def deep(mode: str = "test", data_options: DataOptions | None = None) -> Problem:
    """784-32-32-10 with sigmoids on MNIST (26,506 coordinates), which begins on a plateau: its gradients are small."""
    return mnist(layers=(32, 32), activation="sigmoid", mode=mode, data_options=data_options)
