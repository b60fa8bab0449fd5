"""The first-order meta-gradient: gradients and losses that the rule sees count as constants.

The original programs do the same. Then the backward pass needs only what the forward pass has already computed. Let
`w_t = ∂L/∂f(θ_t)`. The cotangent `λ_t` of `θ_t` is a sum of gradients, and the backward pass differentiates only the
optimizer, step by step from the last to the first::

    λ_T   = w_T g_T
    dφ   += (∂Δθ_t/∂φ)ᵀ λ_t+1 + (∂s_t+1/∂φ)ᵀ σ_t+1           t = T-1 ... 0
    σ_t   = (∂Δθ_t/∂s)ᵀ λ_t+1 + (∂s_t+1/∂s)ᵀ σ_t+1
    λ_t   = λ_t+1 + w_t g_t + (∂Δθ_t/∂θ)ᵀ λ_t+1 + (∂s_t+1/∂θ)ᵀ σ_t+1      (the last two if a rule uses θ)

So the optimizee is never differentiated twice. A step stores only the states, the gradient and the parameters; what a
cell computes in between is computed again. `pull_back.py` has the backward pass.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.base import Loop
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients.base import Estimate, MetaGradient, Window
from l2o_tf.unrolling.meta_gradients.pull_back import Kept, Weights, pull_back, replayed_size
from l2o_tf.unrolling.unroll import PlayedPath, Trajectory, UnrollState


@dataclasses.dataclass(frozen=True)
class FirstOrder(MetaGradient):
    """Differentiates a window through the optimizer only; the gradients of the optimizee count as constants.

    The optimizee is differentiated once. XLA compiles the backward pass separately. On a CPU, its blocks of coordinates
    run on several cores.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.MetaTrainer(l2o.L2ODM(layers=(2,)), l2o.make_problem("quadratic"), curriculum=20).meta_gradient
        FirstOrder()
    """

    def window(self, window: Window) -> Estimate:
        return estimate(window, window.optimizer.loop())


Reduce = Callable[[Kept, Weights], tuple[Kept, Weights]]


def estimate(window: Window, loop: Loop, reduce: Reduce | None = None) -> Estimate:
    """`FirstOrder` with this loop; `reduce` as in `forward`."""
    like, num_steps = window.state.params, unroll.length(window.batches) - 1
    replay = replayed_size(loop, window.state.optimizer, nest.size(like), num_steps) is not None
    meta_loss, after, trajectory, kept, weights = forward(window, loop, replay, reduce)
    gradients = pull_back(loop, window.phi, like, kept, weights, jit_compile=window.xla is not None)
    return Estimate(meta_loss, gradients, after, trajectory)


def forward(
    window: Window, loop: Loop, replay: bool, reduce: Reduce | None = None
) -> tuple[tf.Tensor, UnrollState, Trajectory, Kept, Weights]:
    """Runs a window and stores what `pull_back` needs: `(meta_loss, state, trajectory, kept, weights)`.

    Args:
        window: to be run.
        loop: of its optimizer.
        replay: whether the states are computed again later, and not stored.
        reduce: what becomes of `(kept, weights)` before they are returned; default: nothing.
    """
    played, like = isinstance(window.path, PlayedPath), window.state.params
    wanted = {
        "grads": True,
        "slopes": window.path.judge,
        "loss": window.path.judge,
        "params": played or not replay,
        "states": not replay,
    }
    options = {"record": window.record, "xla": window.xla, "shape": window.shape}
    options["kept"] = [name for name, needed in wanted.items() if needed]

    def run(state, batches):
        after, trajectory, rows = unroll.run_steps(window.path, loop, state, batches, **options)
        judged = [trajectory.losses, trajectory.updates] if window.record else [trajectory.losses]
        with tf.GradientTape() as tape:
            tape.watch(judged)
            meta_loss = window.objective(trajectory)
        found = tape.gradient(meta_loss, judged, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        of_losses = nest.per_coordinate(found[0], like) if window.shape else found[0][:, None]
        of_losses = tf.zeros_like(of_losses[:, :1]) if played else of_losses  # recorded losses are constants
        weights = Weights(of_losses, found[1] if window.record else None)
        rows = {"loss": trajectory.losses[:-1], "slopes": None, "params": None, "states": None, **rows}
        rows.pop("updates", None)
        theta, horizon = None if played else nest.flatten(state.params), tf.convert_to_tensor(state.horizon)
        known = Kept(**rows, theta=theta, index=tf.convert_to_tensor(state.index), horizon=horizon)
        return meta_loss, after, trajectory, *(reduce(known, weights) if reduce else (known, weights))

    return unroll.of_window(run, window.xla)(window.state, window.batches)
