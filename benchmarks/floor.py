"""The floor: the work that no program can avoid that runs these optimizers, done by NumPy and timed.

Per optimizee step that is

* the matrix products of the optimizee, forward and backward, if it is a multilayer perceptron (for others: nothing);
* the matrix products of the optimizer's cell for N coordinates. Evaluation has one per weight matrix. Meta-training has
  two more, for the gradients of the weights and of the inputs that depend on φ;
* one vectorised `tanh` for each transcendental function of the cell (tanh, sigmoid, exp, log).

Everything else is free: other arithmetic, memory traffic, recomputation in the backward pass, minibatches, the
meta-optimizer. So the floor is a bound and no program. A factor of it shows the distance from a limit of the machine.

Each core has a thread, which does a step for its share of the coordinates and of the minibatch and waits for no other.
BLAS has one thread (`ENVIRONMENT`), as its own cost more than they bring at these sizes. Each product runs for all
steps in a row, on preallocated operands, in the fastest layout of operands and result; `tanh` runs on pieces that stay
in the cache.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

PIECE = 2**14
"""Numbers per call of `tanh`: 64 KiB."""

ENVIRONMENT = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
"""For the process that measures: NumPy's BLAS reads it when it is loaded."""


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


def prepare(work: Step, num_steps: int, num_threads: int) -> Callable[[], float]:
    """A call in which each thread does `work` for `num_steps` steps; it returns 0 in place of a loss."""
    products = [[fastest(product) for product in work.products] for _ in range(num_threads)]
    pieces = [np.linspace(-4, 4, PIECE, dtype=np.float32) for _ in range(num_threads)]
    whole, rest = divmod(num_steps * work.transcendentals, PIECE)
    pool = ThreadPoolExecutor(num_threads)

    def share(products, piece):
        for product in products:
            for _ in range(num_steps):
                product()
        out = np.empty_like(piece)
        for _ in range(whole):
            np.tanh(piece, out=out)
        np.tanh(piece[:rest], out=out[:rest])

    def repetition() -> float:
        list(pool.map(share, products, pieces))
        return 0.0

    return repetition


def fastest(product: Product, tries: int = 5) -> Callable[[], None]:
    """The product on operands of ones, in the fastest layout of operands and result."""
    left, right = np.ones(product[:2], np.float32), np.ones(product[1:], np.float32)
    calls = []
    for left_order, right_order, transposed in itertools.product("CF", "CF", (False, True)):
        a, b = np.asarray(left, order=left_order), np.asarray(right, order=right_order)
        calls.append(_product(b.T, a.T) if transposed else _product(a, b))
    seconds = [min(_seconds(call) for _ in range(tries)) for call in calls]
    return calls[int(np.argmin(seconds))]


def _product(a: np.ndarray, b: np.ndarray) -> Callable[[], None]:
    out = np.empty([len(a), b.shape[1]], np.float32)
    operation = np.multiply if a.shape[1] == 1 else np.matmul  # an outer product is not for BLAS
    return lambda: operation(a, b, out=out)


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
