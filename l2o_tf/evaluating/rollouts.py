"""The runs of one optimizer on one problem. The same call serves Adam and a learned optimizer.

Run r has the same first parameters and the same minibatches for every optimizer: both depend on the seed of the run
alone. So comparisons are paired. One compiled call advances all runs, as many at the same time as there are cores.
A long horizon takes several calls of some hundred steps each, so that progress can be shown. States stay on the
device between calls.

A run is recorded window by window: `losses[r, w, t]` is the loss before update t of window w. The last loss of a
window is that of the parameters after it. `recorded_losses` turns them into one curve per run:

* `"after"` (as the original program records): entry i is the loss after update i+1, on a fresh minibatch that had no
  part in that update;
* `"before"`: entry i is the loss before update i+1, on the minibatch that this update uses.
"""

import functools
import itertools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.common import devices
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.batch import Optimizees
from problems import contract
from problems.base import Problem, Seed, fold, make_seed, require_positive

_INIT, _WINDOW = 0, 1

MOST_LOSSES = 10**9
"""More losses would not fit into memory, and steps are counted in 32 bits."""


class Rollouts(NamedTuple):
    """The compiled runs of one optimizer on one problem.

    Attributes:
        start: `(seeds [R, 2], horizon=0) -> carry`: parameters, constants and optimizer states of R runs. The horizon
            is an int32 scalar, for rules that look at the number of steps of a run; 0: unknown.
        advance: `(carry, seeds, first_window, num_steps) -> (carry, losses [R, W, T+1])`: so many steps from the
            beginning of a window, `W = ⌈num_steps / T⌉`. If the last window ends early, the rest of its losses are 0.
            The two numbers are int32 scalars: one compiled program serves all values.
        measure: `carry -> {"loss": [R], "accuracy": [R]}` over the whole data set, or None. An accuracy that the
            problem does not have is NaN.
    """

    start: Callable[..., Any]
    advance: Callable[[Any, tf.Tensor, tf.Tensor, tf.Tensor], tuple[Any, tf.Tensor]]
    measure: Callable[[Any], dict[str, tf.Tensor]] | None


def run_seeds(seed: Seed, num_runs: int) -> tf.Tensor:
    """`[R, 2]`: the seed of each run, derived from the root seed and the run's index alone."""
    return tf.stack([fold(seed, run) for run in range(num_runs)])


def rollouts(
    problem: Problem, optimizer: Optimizer, *, window: int = 100, jit_compile: bool = True, side_by_side: int = 1
) -> Rollouts:
    """Compiles the runs of `optimizer` on `problem`.

    Args:
        problem: what is optimized.
        optimizer: what optimizes it.
        window: T, steps per window; every window costs one loss more than steps. Default 100.
        jit_compile: whether XLA compiles a window (default), or the optimizer's part of it where the problem says so.
        side_by_side: K, runs that take their steps together; the number of runs must be a multiple of it. Default 1:
            one run after the other, so that the states of one fit a CPU's cache. A GPU wants many.

    Raises:
        ValueError: if the optimizer cannot run several optimizees side by side.
    """
    group = Optimizees(problem, side_by_side, optimizer)
    problem, optimizer = group.problem, group.in_blocks_if_large(optimizer)
    advance_run = _windows(group, optimizer, window, jit_compile)

    @tf.function(autograph=False)
    def start_run(seed, horizon):
        seed = group.fold(seed, _INIT)
        params, constants = problem.init(seed)
        return unroll.initial_state(optimizer, params, group.one_seed(seed), horizon), constants

    @tf.function(autograph=False)
    def start(seeds, horizon=0):
        seeds, horizon = group.grouped(seeds), tf.convert_to_tensor(horizon)
        specs = tf.TensorSpec(seeds.shape[1:], seeds.dtype), tf.TensorSpec([], tf.int32)
        found = start_run.get_concrete_function(*specs).structured_outputs
        one_run = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), found)
        return tf.map_fn(
            lambda seed: start_run(seed, horizon), seeds, fn_output_signature=one_run, parallel_iterations=1
        )

    @tf.function(autograph=False)
    def advance(carry, seeds, first_window, num_steps):
        one_run = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape[1:], tensor.dtype), carry)
        carry, losses = _each_run(
            lambda run: advance_run(*run, first_window, num_steps),
            (carry, group.grouped(seeds)),
            (one_run, tf.TensorSpec([None, window + 1, *group.shape], tf.float32)),
        )
        return carry, group.ungrouped(losses)

    @tf.function(autograph=False)
    def measure(carry):
        scalar = tf.TensorSpec(group.shape, tf.float32)
        nowhere = tf.fill(group.shape, math.nan)

        def measure_run(run):
            found = problem.measure(run[0].params, run[1])
            return {name: nowhere if value is None else value for name, value in found.items()}

        found = _each_run(measure_run, carry, {"loss": scalar, "accuracy": scalar})
        return {name: tf.reshape(values, [-1]) for name, values in found.items()}

    return Rollouts(start, advance, measure if problem.measure else None)


def _windows(group: Optimizees, optimizer: Optimizer, window: int, jit_compile: bool):
    """`(carry, seed, first_window, num_steps) -> (carry, losses [W, T+1])` of one run, or of a group."""
    problem, xla = group.problem, unroll.xla_part(group.problem, jit_compile)

    @tf.function(autograph=False)
    def run_window(state, constants, batches, num_steps):
        return unroll.unroll(
            lambda params, batch: problem.loss(params, constants, batch),
            optimizer,
            state,
            batches,
            xla=xla,
            shape=group.shape,
            num_steps=num_steps,
        )

    def advance(carry, seed, first_window, num_steps):
        state, constants = carry
        num_windows = -(-num_steps // window)
        losses = tf.TensorArray(tf.float32, num_windows, element_shape=[window + 1, *group.shape])

        def body(w, state, losses):
            batches = problem.sample(group.fold(seed, _WINDOW, first_window + w), window + 1)
            state, trajectory = run_window(state, constants, batches, tf.minimum(num_steps - w * window, window))
            return w + 1, state, losses.write(w, tf.cast(trajectory.losses, tf.float32))

        _, state, losses = tf.while_loop(lambda w, *_: w < num_windows, body, (0, state, losses))
        return (state, constants), losses.stack()

    return advance


def _each_run(function, inputs, signature):
    """`tf.map_fn` over the leading axis of R runs, at the same time one on each core, on a GPU one after the other.

    More at a time would not fit the caches. What a run gives does not depend on it.
    """

    @tf.function(autograph=False)
    def one_by_one(inputs):
        return tf.map_fn(function, inputs, fn_output_signature=signature, parallel_iterations=1)

    num_runs = tf.nest.flatten(inputs)[0].shape[0]
    streams = min(num_runs, at_once())
    ends = [num_runs * k // streams for k in range(streams + 1)]
    found = [one_by_one(tf.nest.map_structure(lambda x, a=a, b=b: x[a:b], inputs)) for a, b in itertools.pairwise(ends)]
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *found)


def at_once(side_by_side: int = 1) -> int:
    """How many runs take place at the same time: one on each core, on a GPU one, or as many groups side by side."""
    return side_by_side * (1 if devices.has_gpu() else devices.cores())


def recorded_losses(losses: np.ndarray, record: str = "after") -> np.ndarray:
    """`[R, W, T+1] -> [R, W T]`: one curve per run, see the module's docstring."""
    return losses[:, :, slice(1, None) if record == "after" else slice(-1)].reshape(len(losses), -1)


class Runs(NamedTuple):
    """The runs of one optimizer on one problem.

    Attributes:
        losses: `[R, S]`, as `recorded_losses` defines them.
        seconds: wall time of all runs together, which share the cores, without compilation.
        full: `{"step": [M], "loss": [R, M], "accuracy": [R, M]}` over the whole data set; None unless asked for. The
            last step is S.
    """

    losses: np.ndarray
    seconds: float
    full: dict[str, np.ndarray] | None = None


def check_options(
    *,
    num_runs: int,
    num_steps: int,
    record: str = "after",
    full_period: int = 0,
    window: int = 100,
    side_by_side: int = 1,
) -> None:
    """Raises ValueError for options of `run` that are of another type or out of their range."""
    numbers = {"num_runs": num_runs, "num_steps": num_steps, "window": window, "side_by_side": side_by_side}
    for name, value in (numbers | ({"full_period": full_period} if full_period != 0 else {})).items():
        require_positive(name, value)
    if record not in ("after", "before"):
        raise ValueError(f"Received record={record!r}, expected 'after' or 'before'.")
    if num_runs * num_steps > MOST_LOSSES:
        raise ValueError(
            f"Received num_runs={num_runs} and num_steps={num_steps}, expected at most {MOST_LOSSES:,} losses together."
        )
    if num_runs % side_by_side:
        raise ValueError(f"Received side_by_side={side_by_side}, expected a divisor of num_runs={num_runs}.")
    if full_period % window:
        raise ValueError(f"Received full_period={full_period}, expected a multiple of {window}.")


def check(problem: Problem, optimizer: Optimizer, *, full_period: int = 0, side_by_side: int = 1, **options) -> None:
    """Raises ValueError for what `run` cannot do, before anything is compiled. The options are those of `run`."""
    check_options(full_period=full_period, side_by_side=side_by_side, **options)
    if not isinstance(optimizer, Optimizer):
        kind = type(optimizer).__name__
        raise ValueError(f"Received a {kind} as optimizer, expected what l2o_tf.optimizers.make_optimizer makes.")
    contract.check(problem)
    Optimizees(problem, side_by_side, optimizer)
    if full_period and problem.measure is None:
        reason = f"0: {problem.name} does not say how to measure loss and accuracy on all its data"
        raise ValueError(f"Received full_period={full_period}, expected {reason}.")
    seed = make_seed(0)
    unroll.initial_state(optimizer, problem.init(seed)[0], seed)


def run(
    problem: Problem,
    optimizer: Optimizer,
    seed: Seed,
    *,
    num_runs: int = 10,
    num_steps: int = 10_000,
    record: str = "after",
    full_period: int = 0,
    window: int = 100,
    side_by_side: int = 1,
    first_run: int = 0,
    on_progress: Callable[[int, float], None] = lambda steps, loss: None,
) -> Runs:
    """Runs `optimizer` on `problem` from `num_runs` starting points.

    The compiled programs of the last few pairs are kept, so the same problem and optimizer are compiled once. One step
    of all runs compiles the program. It is discarded and not timed.

    Args:
        problem: what is optimized.
        optimizer: what optimizes it, learned or not.
        seed: root seed, int32 `[2]`; decides starting points and minibatches whatever the optimizer.
        num_runs: R. Default 10, as in the paper.
        num_steps: S, steps per run. Default 10,000, as in the paper.
        record: `"after"` (default, as the original program) or `"before"`.
        full_period: measure loss and accuracy over the whole data set every so many steps, a multiple of `window`; 0
            (default): never.
        window, side_by_side: as in `rollouts`; `side_by_side` divides `num_runs`.
        first_run: index of the first of these runs. Default 0. A run depends on its index, and on no other run.
        on_progress: called as `(steps done, mean loss)` several times a run.

    Raises:
        ValueError: if the options do not fit each other; if the problem breaks its contract, or cannot be measured on
            all its data; if the optimizer does not fit the problem, or cannot run several optimizees side by side.
    """
    if np.shape(seed) != (2,):
        raise ValueError(f"Received seed={seed!r}, expected one of shape [2]; problems.base.make_seed(0) is one.")
    numbers = {"num_runs": num_runs, "num_steps": num_steps, "window": window, "side_by_side": side_by_side}
    check(problem, optimizer, record=record, full_period=full_period, **numbers)
    compiled = _compiled(_Key(problem), optimizer, window, side_by_side)
    seeds = run_seeds(seed, first_run + num_runs)[first_run:]
    carry = compiled.start(seeds, tf.constant(num_steps))
    compiled.advance(carry, seeds, tf.constant(0), tf.constant(1))  # pure, so nothing has happened
    curves, seconds, measured = np.empty([num_runs, num_steps], np.float32), 0.0, []
    chunk = full_period or 5 * window
    for first in range(0, num_steps, chunk):
        last, started = min(first + chunk, num_steps), time.perf_counter()
        carry, losses = compiled.advance(carry, seeds, tf.constant(first // window), tf.constant(last - first))
        losses = losses.numpy()
        seconds += time.perf_counter() - started
        curves[:, first:last] = recorded_losses(losses, record)[:, : last - first]
        if full_period:
            found = compiled.measure(carry)
            measured.append({"step": np.array(last)} | {name: values.numpy() for name, values in found.items()})
        on_progress(last, float(curves[:, last - 1].mean()))
    full = {name: np.stack([each[name] for each in measured], axis=-1) for name in (measured[0] if measured else ())}
    return Runs(curves, seconds, full or None)


class _Key:
    """A problem that can be looked up: by what it is equal to, or by identity where a part is not hashable."""

    def __init__(self, problem: Problem):
        self.problem = problem
        try:
            hash(problem)
            self._parts: tuple = problem
        except TypeError:
            self._parts = tuple(map(id, problem))

    def __hash__(self) -> int:
        return hash(self._parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._parts == other._parts


@functools.lru_cache(maxsize=4)
def _compiled(key: _Key, optimizer: Optimizer, window: int, side_by_side: int) -> Rollouts:
    """`rollouts`, cached: TensorFlow never frees what XLA has compiled, some 10 MB each time."""
    return rollouts(key.problem, optimizer, window=window, side_by_side=side_by_side)
