"""Checks once whether a problem keeps the contract of `problems.base`, before any of it is compiled.

`init`, `sample` and `loss` run twice with the same seed. The first run is eager, so that an error points at the user's
line. The second run is in a graph, as all later ones are. If the two differ, a function draws by `random`,
`numpy.random` or `tf.random`. Compiled, such a number would be the same in all steps, or differ between optimizers.
"""

import contextlib
import weakref
from typing import Any

import numpy as np
import tensorflow as tf

from problems.base import Problem, make_seed
from problems.common.user_errors import describe

_STEPS = 11  # unlikely to be the length of another axis
_PARTS = ("init", "sample", "loss")
_kept: set[tuple[int, int]] = set()
"""`id` of `loss` and of `init`, which need not be hashable, of the problems that were checked and still exist."""


class _BrokenError(Exception):
    """What is wrong with a problem, as a part of a sentence."""


def trust(problem: Problem) -> None:
    """Lets `check` accept a problem without a look. The test suite checks all registered problems."""
    pair = id(problem.loss), id(problem.init)
    if pair in _kept:
        return
    with contextlib.suppress(TypeError):  # an object without weak references, whose problem is checked each time
        for part in (problem.loss, problem.init):
            weakref.finalize(part, _kept.discard, pair).atexit = False
        _kept.add(pair)


def check(problem: Problem) -> None:
    """Refuses a problem that breaks the contract. A second call for the same problem returns at once.

    Raises:
        ValueError: if one of its functions raises an error, in a graph or outside; if the parameters are not a dict
            of names and float32 tensors with elements and static shapes; if constants or batches are no tensors, or
            batches have no leading axis of the steps; if the loss is no float32 scalar, or does not depend on the
            parameters; if the same seed does not give the same numbers.
    """
    if not isinstance(problem, Problem):
        raise ValueError(f"Received a {type(problem).__name__} as problem, expected a problems.Problem.")
    try:
        for part in _PARTS:
            if not callable(getattr(problem, part)):
                raise _BrokenError(f"whose `{part}` is {kind_of(getattr(problem, part))}, expected a function")
        if (id(problem.loss), id(problem.init)) not in _kept:
            _check(problem)
    except _BrokenError as broken:
        message = f"Received problem {problem.name!r}, {broken}. See docs/adding-a-problem.md."
        raise ValueError(message) from broken.__cause__
    trust(problem)


def _check(problem: Problem) -> None:
    seed = make_seed(0)
    plain = _run(problem, seed)
    graph = tf.function(lambda seed: _run(problem, seed), autograph=False)
    traced = graph.get_concrete_function(seed)(seed)  # a call of `graph` may warn of retracing
    for part, *both in zip(_PARTS, plain, traced, strict=True):
        size = 1.0 if part == "loss" else None  # it may be a small difference
        leaves = (tf.nest.flatten(structure, expand_composites=True) for structure in both)
        if not all(nearly_equal(*pair, size) for pair in zip(*leaves, strict=True)):
            raise _BrokenError(
                f"whose `{part}` gives other numbers when it is called again with the same arguments, expected a pure "
                "function; draw by tf.random.stateless_*, from the seed of `init` or `sample`"
            )
    if problem.measure:
        _check_measure(problem, *plain[0])


def start_of(problem: Problem) -> str:
    """Tells a problem from others of its name: shapes and first loss with seed 0, to the third digit.

    >>> from problems import contract, make_problem
    >>> contract.start_of(make_problem("simple"))
    '[], first loss 1'

    Raises:
        ValueError: as `check`.
    """
    check(problem)
    seed = make_seed(0)
    params, constants = problem.init(seed)
    batch = tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(seed, 1))
    shapes = ", ".join(str(list(value.shape)) for value in params.values())
    return f"{shapes}, first loss {float(problem.loss(params, constants, batch)):.3g}"


def _run(problem: Problem, seed: tf.Tensor) -> tuple[Any, Any, tf.Tensor]:
    """What `init`, `sample` and `loss` return; checks each."""
    started = _call(problem, "init", seed)
    if not isinstance(started, tuple) or len(started) != 2 or not isinstance(started[0], dict):
        parts = f": {', '.join(map(kind_of, started))}" if isinstance(started, tuple) else ""
        expected = "a tuple of a dict of parameters and the constants"
        raise _BrokenError(f"whose `init` returns {kind_of(started)}{parts}; expected {expected}")
    params, constants = started
    _check_params(params)
    _check_tensors("whose `init` returns constants", constants)
    batches = _call(problem, "sample", seed, _STEPS)
    _check_tensors("whose `sample` returns batches", batches, ragged=not problem.xla)
    shapes = [list(each.shape if tf.is_tensor(each) else np.shape(each)) for each in tf.nest.flatten(batches)]
    if not shapes or any(shape[:1] not in ([_STEPS], [None]) for shape in shapes):
        raise _BrokenError(
            f"whose `sample(seed, {_STEPS})` returns tensors of the shapes {shapes[:3]}, expected a leading axis of "
            f"{_STEPS}, an entry for each step; without minibatches, `sample=no_batches`"
        )
    params, constants, batches = tf.nest.map_structure(tf.identity, (params, constants, batches))  # of the graph, there
    batch = tf.nest.map_structure(lambda tensor: tensor[0], batches)
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = _call(problem, "loss", params, constants, batch)
    if not tf.is_tensor(loss) or loss.shape.rank != 0 or loss.dtype != tf.float32:
        raise _BrokenError(f"whose `loss` returns {kind_of(loss)}, expected a float32 scalar")
    if all(gradient is None for gradient in tape.gradient(loss, params).values()):
        expected = "one that depends on them by differentiable operations of TensorFlow"
        raise _BrokenError(f"whose `loss` has no gradient in any parameter, expected {expected}")
    return started, batches, loss


def _check_params(params: dict[str, tf.Tensor]) -> None:
    if not params:
        raise _BrokenError("whose `init` returns no parameters, expected at least one")
    for name, value in params.items():
        if not isinstance(name, str):
            expected = "a name"
        elif not tf.is_tensor(value) or value.dtype != tf.float32:
            expected = "a float32 tensor; make it one by `tf.cast(value, tf.float32)`"
        elif not value.shape.is_fully_defined():
            expected = "a shape that does not depend on the seed"
        elif not value.shape.num_elements():
            expected = "at least one element"
        else:
            continue
        raise _BrokenError(f"whose `init` returns the parameter {name!r} as {kind_of(value)}, expected {expected}")


def _check_tensors(who: str, structure: Any, ragged: bool = False) -> None:
    for leaf in tf.nest.flatten(structure):
        try:
            if not (ragged and isinstance(leaf, tf.RaggedTensor)):
                tf.convert_to_tensor(leaf)
        except (TypeError, ValueError):
            raise _BrokenError(
                f"{who} with {kind_of(leaf)}, expected dense tensors in tuples, lists or dicts (of batches with "
                "xla=False also ragged ones); () stands for none"
            ) from None


def _check_measure(problem: Problem, params: Any, constants: Any) -> None:
    """Checks what `measure` returns for all data. It is traced and not run, since it goes through all data."""
    traced = tf.function(lambda: _call(problem, "measure", params, constants), autograph=False)
    found = traced.get_concrete_function().structured_outputs
    if not isinstance(found, dict) or {"loss", "accuracy"} != set(found):
        raise _BrokenError(f"whose `measure` returns {kind_of(found)}, expected scalars 'loss' and 'accuracy'")
    for name, value in found.items():
        is_scalar = tf.is_tensor(value) and value.shape.rank == 0 and value.dtype.is_floating
        if not is_scalar and not (value is None and name == "accuracy"):
            expected = "a scalar; the accuracy may be None"
            raise _BrokenError(f"whose `measure` returns {name!r} as {kind_of(value)}, expected {expected}")


def _call(problem: Problem, part: str, *arguments: Any) -> Any:
    try:
        return getattr(problem, part)(*arguments)
    except Exception as error:  # the user's code
        where = ", when it is traced into a graph" if not tf.executing_eagerly() else ""
        raise _BrokenError(f"whose `{part}` raised {describe(error)}{where}") from error


def nearly_equal(one: Any, other: Any, size: float | None = None) -> bool:
    """Whether floating-point tensors differ by 1e-4 of `size`, or less; others must be equal.

    Args:
        one, other: tensors, or values that TensorFlow makes tensors of.
        size: default: the largest finite entry of `one`.
    """
    one, other = (np.asarray(tf.convert_to_tensor(value)) for value in (one, other))
    if np.array_equal(one, other) or one.dtype.kind != "f" or one.shape != other.shape:
        return np.array_equal(one, other)
    if size is None:
        size = np.max(np.abs(one), initial=0.0, where=np.isfinite(one))
    return np.allclose(one, other, 1e-4, 1e-4 * size, equal_nan=True)


def kind_of(value: Any) -> str:
    """Type of a value, with dtype and shape, names or length."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        dtype, shape = tf.as_dtype(value.dtype).name, tf.TensorShape(value.shape)
        composite = isinstance(value, tf.RaggedTensor | tf.SparseTensor)
        what = type(value).__name__ if composite else "tensor" if tf.is_tensor(value) else "NumPy array"
        return f"a {what} of {dtype} and shape {shape}"
    if isinstance(value, dict):
        return f"a dict with {[*value][:5]}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
