"""What every optimizee is: three pure functions and a name.

An *optimizee* is whatever is being optimized; a *problem* is an optimizee together with its data. A problem
owns no variable and no iterator. All randomness enters through explicit seeds, so that the same seed gives the
same run, on a CPU or a GPU and after every resume (`problems.contract` looks at that)::

    params, constants = problem.init(seed)              # θ_0, and what stays fixed during one run
    batches = problem.sample(seed, num_steps)           # the randomness of T steps, leading axis T
    loss = problem.loss(params, constants, batch)       # f(θ_t), differentiable in params

`loss` is traced into the compiled unroll. `init` and `sample` run outside XLA, because `tf.random.stateless_*` gives
other numbers inside it. What they return is passed in as tensors. Draws leave `alg` at its default. On CPUs and GPUs
that is Philox, too, and it takes one operation per draw; `alg="philox"` takes twenty.
"""

import hashlib
import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Seed = tf.Tensor
"""int32 `[2]`, as `tf.random.stateless_*` takes it."""

Params = dict[str, tf.Tensor]
"""Name -> float32 tensor with elements. The insertion order is the order of the coordinates."""

Constants = Any
Batch = Any
Batches = Any

Measured = dict[str, tf.Tensor | None]
"""`{"loss": scalar, "accuracy": scalar or None}`."""

Measure = Callable[..., Measured]
"""`(params, constants, part=None) -> Measured`; see `Problem.measure`."""


class DataInfo(NamedTuple):
    """Which data a problem really uses; goes into every record, result file and plot title.

    Attributes:
        name: e.g. `"mnist"`, `"digits-28x28"`.
        split: `"train"` or `"test"`, with the rule that chose the images.
        size: number of examples.
        fingerprint: of the data, e.g. of images and labels.
    """

    name: str
    split: str
    size: int
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.name}/{self.split} ({self.size:,} examples, {self.fingerprint})"


def fingerprint(*arrays: np.ndarray) -> str:
    """First 16 hex digits of the SHA-256 over the arrays, row-major; of images they are uint8, of labels int32."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


class Problem(NamedTuple):
    """An optimizee and its data as pure functions.

    >>> import tensorflow as tf
    >>> from problems import Problem
    >>> from problems.base import no_batches
    >>> bowl = Problem(
    ...     "bowl",
    ...     init=lambda seed: ({"x": tf.random.stateless_normal([2], seed)}, ()),
    ...     sample=no_batches,
    ...     loss=lambda params, constants, batch: tf.reduce_sum(params["x"] ** 2),
    ... )

    Attributes:
        name: name under which the problem is registered.
        init: `seed -> (params, constants)`.
        sample: `(seed, num_steps) -> batches`; a nest whose tensors have a leading axis of `num_steps`: a Python int,
            or a scalar int32 tensor where windows differ in length. Minibatches travel as int32 indices. Without
            minibatches it is `no_batches`.
        loss: `(params, constants, batch) -> scalar`, where `batch` is `batches` without its leading axis.
        data: which data is used; None for problems without data.
        measure: how good parameters are, `(params, constants, part=None) -> {"loss": scalar, "accuracy": scalar}`.
            `part` says on which data: None, the default, on all; else on minibatches as `sample` returns them. The
            accuracy is None where there is no such thing, as in a regression. `measured_by` makes such a function. None
            where the loss has no minibatch and measures all.
        xla: whether XLA may compile `loss` into the loop. On a CPU it runs convolutions 3 to 14 times as slowly as
            TensorFlow does without it.
    """

    name: str
    init: Callable[[Seed], tuple[Params, Constants]]
    sample: Callable[[Seed, int], Batches]
    loss: Callable[[Params, Constants, Batch], tf.Tensor]
    data: DataInfo | None = None
    measure: Measure | None = None
    xla: bool = True


def for_many(loss: Callable[[Params, Constants, Batch], tf.Tensor]) -> Callable:
    """Marks a `Problem.loss` that takes several optimizees at once; `side_by_side` then calls it once for all.

    Such a loss accepts leading axes before those of all parameters, constants and minibatches, and returns losses
    `[...]`.
    """
    loss.for_many = True
    return loss


def no_batches(seed: Seed, num_steps: int) -> tf.Tensor:
    """`sample` of a problem whose loss has no minibatch."""
    return tf.zeros([num_steps], tf.int32)


def shapes_of(problem: Problem, seed: Seed | None = None) -> Params:
    """Name -> `tf.TensorSpec` of the parameters; `init` is traced with a seed, default seed 0, and never run."""
    if not isinstance(problem, Problem):
        raise ValueError(f"Received a {type(problem).__name__} as problem, expected a problems.Problem.")
    seed = make_seed(0) if seed is None else seed
    return tf.function(lambda: problem.init(seed)[0], autograph=False).get_concrete_function().structured_outputs


def measured_by(
    loss: Callable[[Params, Constants, Batch], tf.Tensor], whole: Callable[[Params, Constants], Measured] | None = None
) -> Measure:
    """`Problem.measure` from the loss of one minibatch and what measures all data (default: that cannot be measured).

    On given minibatches the measure is the mean of `loss`, which takes one after the other.
    """

    def measure(params, constants, part=None):
        if part is None:
            return whole(params, constants)
        dtype = next(iter(params.values())).dtype
        losses = tf.map_fn(lambda batch: loss(params, constants, batch), part, fn_output_signature=dtype)
        return {"loss": tf.reduce_mean(losses), "accuracy": None}  # `tf.vectorized_map` is 50 times as slow under XLA

    return measure


def mean_of_rows(
    function: Callable[[tf.Tensor], dict], size: int, batch_size: int, signature: dict[str, tf.TensorSpec]
) -> dict[str, tf.Tensor]:
    """The mean over all `size` rows of a data set, in the memory of one minibatch.

    `function` takes int32 row numbers `[B]` and returns the means over these rows by name, with shapes and types as in
    `signature`. B is `batch_size`, and for the last minibatch what is left.
    """
    whole, rest = divmod(size, batch_size)
    function = tf.autograph.experimental.do_not_convert(function)  # else an eager `map_fn` does, for each minibatch
    total = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in signature.items()}
    if whole:
        rows = tf.reshape(tf.range(whole * batch_size), [whole, batch_size])
        found = tf.map_fn(function, rows, fn_output_signature=signature, parallel_iterations=1)
        total = {name: tf.reduce_sum(found[name], axis=0) * batch_size for name in total}
    if rest:
        found = function(tf.range(whole * batch_size, size))
        total = {name: value + found[name] * rest for name, value in total.items()}
    return {name: value / size for name, value in total.items()}


def measure_of(problem: Problem) -> Measure:
    """`problem.measure`; where the loss has no minibatch, the loss itself, whatever the part."""
    if not isinstance(problem, Problem):
        raise ValueError(f"Received a {type(problem).__name__} as problem, expected a problems.Problem.")
    if problem.measure is not None:
        return problem.measure
    if problem.sample is not no_batches:
        raise ValueError(
            f"Received problem {problem.name!r} with minibatches and without a measure, expected either no minibatches "
            "or a way to measure all data; give the problem a `measure`."
        )
    none = tf.zeros([], tf.int32)
    return lambda params, constants, part=None: {"loss": problem.loss(params, constants, none), "accuracy": None}


def objective_of(problem: Problem) -> Callable[[Params, Constants], tf.Tensor]:
    """What a problem really minimises, `(params, constants) -> scalar`: the loss that `problem.measure` finds.

    >>> from problems import make_problem, objective_of
    >>> problem = make_problem("simple")
    >>> params, constants = problem.init([0, 0])
    >>> float(objective_of(problem)(params, constants))
    1.0

    It is differentiable in params, with a slope of its own, whatever `sample` does to the gradients of single steps. As
    the `judge` of a lesson it gives a meta-loss on other data than those of the student's steps.

    Raises:
        ValueError: if the problem has minibatches and no measure.
    """
    measure = measure_of(problem)
    return lambda params, constants: measure(params, constants)["loss"]


def fold(seed: Seed, *values) -> Seed:
    """A new seed from a seed and ints or scalar int tensors: `fold(seed, meta_epoch, purpose)`.

    Seeds are derived, never consumed, so a resumed run draws what the uninterrupted run would have drawn.
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
    """The root seed `[seed, 0]` of an integer such as `--seed`; a ValueError, if that has more than 32 bits."""
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
