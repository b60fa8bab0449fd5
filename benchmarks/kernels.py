"""Does the work of the floor: every matrix product, and `tanh`, by the library that is the fastest at it here.

NumPy, TensorFlow and XLA have code of their own for both, and none is the fastest on every machine. `products` and
`tanhs` list the candidates, and `fastest` times them in turn. Each core has a thread, which does a step for its share
of the coordinates and of the minibatch and waits for no other. Libraries have one thread per call
(`floor.ENVIRONMENT`), as their own cost more than they bring at these sizes. Each product runs for all steps in a row,
on operands that are there; `tanh` runs on pieces that stay in the cache.

A call of NumPy or TensorFlow does the work once. A call of XLA is a compiled loop, because the programs that are
compared with the floor are such loops, too, and pay for a call only once. In each step the loop writes into an operand
what is there already: else the compiler would compute one product for all steps.
"""

import collections
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks.floor import Product, Step

PIECE = 2**14
"""Numbers of a `tanh`: 64 KiB, which stay in the cache."""

Run = Callable[[int], np.ndarray | tf.Tensor]


class Kernel(NamedTuple):
    """One way to do a piece of work.

    Attributes:
        library: `"NumPy"`, `"TensorFlow"` or `"XLA"`.
        run: `count -> result`: does the work so many times, one after the other, and returns the last result. Several
            threads may call it at the same time.
    """

    library: str
    run: Run


class Floor(NamedTuple):
    """A floor that can be timed.

    Attributes:
        repetition: does the work of all steps, a share in each thread; returns 0 in place of a loss.
        note: which library is the fastest at how many products, and at `tanh`.
    """

    repetition: Callable[[], float]
    note: str


def prepare(work: Step, num_steps: int, num_threads: int) -> Floor:
    """Finds the fastest kernels for the `work` of a thread in a step; a repetition does it `num_steps` times."""
    found = {product: fastest(products(product)) for product in dict.fromkeys(work.products)}
    chosen, tanh = [found[product] for product in work.products], fastest(tanhs())
    pool, pieces = ThreadPoolExecutor(num_threads), num_steps * work.transcendentals // PIECE

    def share(_):
        for kernel in chosen:
            kernel.run(num_steps)
        tanh.run(pieces)

    def repetition() -> float:
        list(pool.map(share, range(num_threads)))
        return 0.0

    counts = collections.Counter(kernel.library for kernel in chosen).most_common()
    by = ", ".join(f"{count} by {library}" for library, count in counts) or "none"
    return Floor(repetition, f"products: {by}; tanh: {tanh.library}")


def products(product: Product) -> list[Kernel]:
    """The product on operands of ones, by every library, with every layout of operands and result."""
    found = []
    for left, right, swapped in itertools.product((False, True), repeat=3):  # which of the three are transposed
        rows, inner, columns = reversed(product) if swapped else product
        a = np.ones((inner, rows) if left else (rows, inner), np.float32)
        b = np.ones((columns, inner) if right else (inner, columns), np.float32)
        found.append(Kernel("NumPy", _numpy_product(a.T if left else a, b.T if right else b)))
        found += _tensorflow_products(tf.constant(a), tf.constant(b), left, right)
    return found


def tanhs() -> list[Kernel]:
    """`tanh` of `PIECE` numbers, by every library."""
    piece = np.linspace(-4, 4, PIECE, dtype=np.float32)
    tensor = tf.constant(piece)

    def by_numpy(count):
        out = np.empty_like(piece)
        for _ in range(count):
            np.tanh(piece, out=out)
        return out

    def by_tensorflow(count):
        out = tensor
        for _ in range(count):
            out = tf.tanh(tensor)
        return out

    by_xla = tf.function(_repeated_tanh, jit_compile=True, autograph=False)
    return [
        Kernel("NumPy", by_numpy),
        Kernel("TensorFlow", by_tensorflow),
        Kernel("XLA", lambda count: by_xla(tensor, tf.constant(count))),
    ]


def fastest(kernels: Sequence[Kernel], tries: int = 5, count: int = 10) -> Kernel:
    """The kernel with the shortest of so many times; in each of these rounds all take their turn."""
    for kernel in kernels:
        kernel.run(1)  # compiles
    seconds = [[_seconds(kernel, count) for kernel in kernels] for _ in range(tries)]
    return kernels[int(np.argmin(np.min(seconds, axis=0)))]


def _seconds(kernel: Kernel, count: int) -> float:
    started = time.perf_counter()
    np.asarray(kernel.run(count))
    return time.perf_counter() - started


def _numpy_product(a: np.ndarray, b: np.ndarray) -> Run:
    operation = np.multiply if a.shape[1] == 1 else np.matmul  # an outer product is not for BLAS

    def run(count):
        out = np.empty([len(a), b.shape[1]], np.float32)
        for _ in range(count):
            operation(a, b, out=out)
        return out

    return run


def _tensorflow_products(a: tf.Tensor, b: tf.Tensor, left: bool, right: bool) -> list[Kernel]:
    def multiply(a, b):
        return tf.matmul(a, b, transpose_a=left, transpose_b=right)

    def by_tensorflow(count):
        for _ in range(count):
            out = multiply(a, b)
        return out

    @tf.function(jit_compile=True, autograph=False)
    def by_xla(a, b, count):
        first, shape = a[0], multiply(a, b).shape
        rows = tf.TensorArray(a.dtype, a.shape[0], element_shape=first.shape).unstack(a)

        def step(t, rows, out):
            rows = rows.write(0, first * tf.cast(t >= 0, a.dtype))  # a 1 that the compiler does not know
            return t + 1, rows, multiply(rows.stack(), b)

        return tf.while_loop(lambda t, *_: t < count, step, (0, rows, tf.zeros(shape)))[2]

    return [Kernel("TensorFlow", by_tensorflow), Kernel("XLA", lambda count: by_xla(a, b, tf.constant(count)))]


def _repeated_tanh(x: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda t, _: t < count, lambda t, x: (t + 1, tf.tanh(x)), (0, x))[1]
