"""How good is an optimizer? Many runs, long horizons, the same call for Adam and for a learned optimizer.

Run r starts from the same parameters and sees the same minibatches whatever optimizer is evaluated, since both are derived
from the run's seed alone: comparisons are paired. All runs of an optimizer advance in one compiled call; long horizons are
cut into calls of some hundred steps each, so that progress can be shown. States stay on the device between calls.

A run is recorded window by window: `losses[r, w, t]` is the loss before update t of window w, and the last of a window is
that of the parameters after it. `recorded_losses` turns them into one curve per run:

* `"after"` (as the original program records): entry i is the loss after update i+1, on a fresh minibatch that had no part
  in that update;
* `"before"`: entry i is the loss before update i+1, on the minibatch that this update uses.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import unroll
from l2o_tf.optimizers.base import Optimizer
from problems.base import Problem, Seed, fold

_INIT, _WINDOW = 0, 1


class Rollouts(NamedTuple):
    """The compiled runs of one optimizer on one problem.

    Attributes:
        start: `seeds [R, 2] -> carry`: parameters, constants and optimizer states of R runs.
        advance: `(carry, seeds, first_window, num_windows) -> (carry, losses [R, num_windows, T+1])`; the two numbers are
            int32 scalars, so that any of them is served by one trace.
        measure: `carry -> {"loss": [R], "accuracy": [R]}` over the whole data set, or None.
        window: T.
    """

    start: Callable[[tf.Tensor], Any]
    advance: Callable[[Any, tf.Tensor, tf.Tensor, tf.Tensor], tuple[Any, tf.Tensor]]
    measure: Callable[[Any], dict[str, tf.Tensor]] | None
    window: int


def run_seeds(seed: Seed, num_runs: int) -> tf.Tensor:
    """`[R, 2]`: the seed of each run, derived from the root seed and the run's index alone."""
    return tf.stack([fold(seed, run) for run in range(num_runs)])


def rollouts(problem: Problem, optimizer: Optimizer, *, window: int = 100, jit_compile: bool = False) -> Rollouts:
    """Compiles the runs of `optimizer` on `problem`.

    Args:
        problem: what is optimized.
        optimizer: what optimizes it.
        window: T, steps per window; every window costs one loss more than steps. Default 100.
        jit_compile: whether XLA compiles a window.
    """

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run_window(state, constants, batches):
        return unroll.unroll(lambda params, batch: problem.loss(params, constants, batch), optimizer, state, batches)

    @tf.function(autograph=False)
    def start_run(seed):
        params, constants = problem.init(fold(seed, _INIT))
        return unroll.initial_state(optimizer, params), constants

    def advance_run(carry, seed, first_window, num_windows):
        (state, constants), losses = carry, tf.TensorArray(tf.float32, num_windows, element_shape=[window + 1])

        def body(w, state, losses):
            batches = problem.sample(fold(seed, _WINDOW, first_window + w), window + 1)
            state, trajectory = run_window(state, constants, batches)
            return w + 1, state, losses.write(w, tf.cast(trajectory.losses, tf.float32))

        _, state, losses = tf.while_loop(lambda w, *_: w < num_windows, body, (0, state, losses))
        return (state, constants), losses.stack()

    @tf.function(autograph=False)
    def start(seeds):
        runs = [start_run(seed) for seed in tf.unstack(seeds)]
        return tf.nest.map_structure(lambda *tensors: tf.stack(tensors), *runs)

    @tf.function(autograph=False)
    def advance(carry, seeds, first_window, num_windows):
        one_run = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape[1:], tensor.dtype), carry)
        return _each_run(
            lambda run: advance_run(*run, first_window, num_windows),
            (carry, seeds),
            (one_run, tf.TensorSpec([None, window + 1], tf.float32)),
        )

    @tf.function(autograph=False)
    def measure(carry):
        scalar = tf.TensorSpec([], tf.float32)
        return _each_run(
            lambda run: problem.evaluate(run[0].params, run[1]), carry, {"loss": scalar, "accuracy": scalar}
        )

    return Rollouts(start, advance, measure if problem.evaluate else None, window)


def _each_run(function, inputs, signature):
    """`tf.map_fn` over the leading axis, one run after the other: one run's states fit the cache, all of them do not."""
    return tf.map_fn(function, inputs, fn_output_signature=signature, parallel_iterations=1)


def recorded_losses(losses: np.ndarray, record: str = "after") -> np.ndarray:
    """`[R, W, T+1] -> [R, W T]`: one curve per run, see the module's docstring.

    Raises:
        ValueError: if `record` is neither `"after"` nor `"before"`.
    """
    slices = {"after": slice(1, None), "before": slice(None, -1)}
    if record not in slices:
        raise ValueError(f"Received record={record!r}, expected 'after' or 'before'.")
    return losses[:, :, slices[record]].reshape(len(losses), -1)
