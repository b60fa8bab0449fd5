"""What every optimizee is: three pure functions and a name.

An *optimizee* is whatever is being optimized; a *problem* is an optimizee together with its data. A problem
owns no variable and no iterator. All randomness enters through explicit seeds, so that the same seed gives the
same run, on a CPU or a GPU and after every resume (`problems.contract` looks at that)::

    params, constants = problem.init(seed)              # θ_0, and what stays fixed during one run
    batches = problem.sample(seed, num_steps)           # the randomness of T steps, leading axis T
    loss = problem.loss(params, constants, batch)       # f(θ_t), differentiable in params

`loss` is traced into the compiled unroll. `init` and `sample` run outside XLA (`tf.random.stateless_*` gives other
numbers inside it), and travel as tensors. On CPUs and GPUs TensorFlow draws by Philox anyway, so `alg` is left to it:
asked for Philox, it derives the generator's key by twenty operations for every draw, in the place of one.
"""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

Seed = tf.Tensor
"""int32 `[2]`, as `tf.random.stateless_*` takes it."""

Params = dict[str, tf.Tensor]
"""Name -> float32 tensor with elements. The insertion order is the order of the coordinates."""

Constants = Any
Batch = Any
Batches = Any


class DataInfo(NamedTuple):
    """Which data a problem really uses; goes into every record, result file and plot title.

    Attributes:
        name: e.g. `"mnist"`, `"digits-28x28"`.
        split: `"train"` or `"test"`, with the rule that chose the images.
        size: number of examples.
        fingerprint: first 16 hex digits of the SHA-256 over images and labels.
    """

    name: str
    split: str
    size: int
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.name}/{self.split} ({self.size:,} examples, {self.fingerprint})"


class Problem(NamedTuple):
    """An optimizee and its data as pure functions.

    Attributes:
        name: name under which the problem is registered.
        init: `seed -> (params, constants)`.
        sample: `(seed, num_steps) -> batches`; a nest whose tensors have a leading axis of `num_steps`: a
            Python int, or a scalar int32 tensor where windows differ in length.
            Minibatches travel as int32 indices. Problems without minibatches return `tf.zeros([num_steps], tf.int32)`.
        loss: `(params, constants, batch) -> scalar`, where `batch` is `batches` without its leading axis.
        data: which data is used; None for problems without data.
        evaluate: `(params, constants) -> {"loss": scalar, "accuracy": scalar}` over the whole data set; its
            accuracy may be None, as in a regression. None where there is no such thing.
        objective: `(params, constants) -> scalar`, f over all its data and free of what `sample` does to single steps;
            None where `evaluate` says it, or where `loss` has no minibatch. Ask `objective_of(problem)`.
        examples: `batch -> (inputs [B, ...], labels [B])`, what a minibatch stands for, to be looked at; None where
            there is nothing to see.
        xla: whether XLA may compile `loss` into the loop. On a CPU it runs convolutions 3 to 14 times as slowly as
            TensorFlow does without it.
    """

    name: str
    init: Callable[[Seed], tuple[Params, Constants]]
    sample: Callable[[Seed, int], Batches]
    loss: Callable[[Params, Constants, Batch], tf.Tensor]
    data: DataInfo | None = None
    evaluate: Callable[[Params, Constants], dict[str, tf.Tensor]] | None = None
    objective: Callable[[Params, Constants], tf.Tensor] | None = None
    examples: Callable[[Batch], tuple[tf.Tensor, tf.Tensor]] | None = None
    xla: bool = True


def for_many(loss: Callable[[Params, Constants, Batch], tf.Tensor]) -> Callable:
    """Says of a `Problem.loss` that it takes several optimizees at once, too: with leading axes before those of all
    parameters, constants and minibatches it returns losses `[...]`. `problems.side_by_side` then calls it once.

    The mark is on the function, so that a loss which is made of it does not have it unasked.
    """
    loss.for_many = True
    return loss


def no_batches(seed: Seed, num_steps: int) -> tf.Tensor:
    """`sample` of a problem whose loss has no minibatch."""
    del seed
    return tf.zeros([num_steps], tf.int32)


def shapes_of(problem: Problem, seed: Seed | None = None) -> Params:
    """Name -> `tf.TensorSpec` of the parameters; `init` is traced and never run.

    Args:
        problem: any.
        seed: what its `init` takes; default: seed 0.
    """
    seed = make_seed(0) if seed is None else seed
    return tf.function(lambda: problem.init(seed)[0], autograph=False).get_concrete_function().structured_outputs


def objective_of(problem: Problem) -> Callable[[Params, Constants], tf.Tensor]:
    """What a problem really minimises: `(params, constants) -> scalar` over all its data, differentiable in params.

    That is `problem.objective`; else the loss that `problem.evaluate` measures; else, without minibatches, the loss.

    Raises:
        ValueError: if the problem has minibatches and says nothing about the whole.
    """
    if problem.objective is not None:
        return problem.objective
    if problem.evaluate is not None:
        return lambda params, constants: problem.evaluate(params, constants)["loss"]
    if problem.sample is not no_batches:
        raise ValueError(
            f"Received problem {problem.name!r} with minibatches and without an objective, expected either no "
            "minibatches or the loss over all data; give the problem an `objective` or an `evaluate`."
        )
    return lambda params, constants: problem.loss(params, constants, tf.zeros([], tf.int32))


def fold(seed: Seed, *values) -> Seed:
    """Derives a new seed: `fold(seed, meta_epoch, purpose)`.

    Seeds are derived, never consumed, so a resumed run draws what the uninterrupted run would have drawn.

    Args:
        seed: int32 `[2]`.
        *values: ints or scalar int tensors, folded in one after the other.

    Returns:
        int32 `[2]`.
    """
    for value in values:
        seed = _fold_in(seed, tf.convert_to_tensor(value))
    return seed


@tf.function(autograph=False)  # one operation to trace, in the place of five
def _fold_in(seed, value):
    return tf.random.fold_in(seed, value)


def normal_like(like: Params, leading: list[int], seed: Seed, stddev: float) -> Params:
    """Draws N(0, stddev²) in the shapes of `like`, behind `leading` axes."""
    return {
        key: stddev * tf.random.stateless_normal([*leading, *value.shape], fold(seed, k), dtype=value.dtype)
        for k, (key, value) in enumerate(like.items())
    }


def make_seed(seed: int) -> Seed:
    """A root seed from the integer of `--seed`.

    Raises:
        ValueError: if it is none of 32 bits.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not -(2**31) <= seed < 2**31:
        raise ValueError(f"Received seed={seed!r}, expected an integer of 32 bits.")
    return tf.constant([seed, 0], tf.int32)


def require_name(what: str, value: Any) -> None:
    """Raises ValueError unless the name of `what` is a text."""
    if not isinstance(value, str):
        raise ValueError(f"Received a {type(value).__name__} as {what}, expected a name.")


def require_positive(name: str, value: int) -> None:
    """Raises ValueError unless the size called `name` is a positive integer."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"Received {name}={value!r}, expected a positive integer.")


def require_not_negative(name: str, value: float) -> None:
    """Raises ValueError unless the number called `name` is at least 0 and finite."""
    if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise ValueError(f"Received {name}={value!r}, expected a finite number of at least 0.")
