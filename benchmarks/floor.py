"""The floor: the work that no program can avoid that runs these optimizers. `kernels.py` does it, and is timed.

Per optimizee step that is

* the matrix products of the optimizee, forward and backward, if it is a multilayer perceptron (for others: nothing);
* the matrix products of the optimizer's cell for N coordinates. Evaluation has one per weight matrix. Meta-training has
  two more, for the gradients of the weights and of the inputs that depend on φ;
* one vectorised `tanh` for each transcendental function of the cell (tanh, sigmoid, exp, log).

Everything else is free: other arithmetic, memory traffic, recomputation in the backward pass, minibatches, the
meta-optimizer. So the floor is a bound and no program. A factor of it shows the distance from a limit of the machine.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ENVIRONMENT = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1"
)
"""For the process that measures: the libraries read it when they are loaded."""


class Product(NamedTuple):
    """`[rows, inner] x [inner, columns]`."""

    rows: int
    inner: int
    columns: int


class Matrix(NamedTuple):
    """A weight matrix of a cell; `learned` of its inputs depend on φ, the others are constants without a gradient."""

    inputs: int
    outputs: int
    learned: int


class Cell(NamedTuple):
    """An update rule: its matrices, and how many transcendental functions it takes per coordinate."""

    matrices: Sequence[Matrix]
    transcendentals: int


CELLS: dict[str, Cell] = {
    # LogAndSign (a log), two LSTM layers of 20 units (five functions per unit), a linear read-out.
    "L2O-DM": Cell([Matrix(22, 80, 20), Matrix(40, 80, 40), Matrix(20, 1, 20)], 1 + 2 * 5 * 20),
    # A projection of two numbers with ELU, the same two layers, a tanh.
    "RNNprop": Cell([Matrix(2, 20, 0), Matrix(40, 80, 40), Matrix(40, 80, 40), Matrix(20, 1, 20)], 20 + 2 * 5 * 20 + 1),
    # A GRU of 10 units on 12 features: gates and candidate; four read-outs; the shortcut. asinh and ln m on four time
    # scales, three functions per unit, two decays, a learning rate. The levels above, with a row per tensor, are free.
    "L2O-Scale": Cell(
        [Matrix(22, 20, 22), Matrix(22, 10, 22), Matrix(10, 4, 10), Matrix(4, 1, 4)], 4 + 4 + 3 * 10 + 2 + 1
    ),
}
"""Architecture, with its default options -> its cell."""


class Step(NamedTuple):
    """The work of one step."""

    products: list[Product]
    transcendentals: int


def step(
    architecture: str, phase: str, shapes: Mapping[str, Sequence[int]], batch_size: int, num_threads: int = 1
) -> Step:
    """The floor of one optimizee step with tensors of these shapes, or a thread's share of it, rounded up."""
    cell, size = CELLS[architecture], -(-sum(math.prod(shape) for shape in shapes.values()) // num_threads)
    found = perceptron_products(list(shapes.values()), -(-batch_size // num_threads))
    for matrix in cell.matrices:
        found.append(Product(size, matrix.inputs, matrix.outputs))
        if phase == "training":
            found.append(Product(matrix.inputs, size, matrix.outputs))
            found += [Product(size, matrix.outputs, matrix.learned)] if matrix.learned else []
    return Step(found, size * cell.transcendentals)


def perceptron_products(shapes: Sequence[Sequence[int]], batch_size: int) -> list[Product]:
    """Products of loss and gradient, for a perceptron with tensors `[w_1, b_1, w_2, b_2, ...]`; none for others."""
    weights, biases = shapes[::2], shapes[1::2]
    layers = len(weights) == len(biases) and all(len(w) == 2 for w in weights)
    if not layers or any(w[1:] != b for w, b in zip(weights, biases, strict=True)):
        return []
    found = []
    for index, (inputs, outputs) in enumerate(weights):
        found += [Product(batch_size, inputs, outputs), Product(inputs, batch_size, outputs)]
        if index:
            found.append(Product(batch_size, outputs, inputs))
    return found


def threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
