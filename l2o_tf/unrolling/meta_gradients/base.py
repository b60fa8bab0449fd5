"""What every meta-gradient is: a way to turn one window of an unroll into an estimate of `∂(meta-loss)/∂φ`."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.optimizers.base import Optimizer
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.unroll import Batches, Path, Trajectory, UnrollState, XlaPart


class Window(NamedTuple):
    """One truncation window, and all that it takes to run it.

    Attributes:
        path: whose steps the rule sees: `unroll.OwnPath(loss_fn, judge)`, or `unroll.PlayedPath()`.
        optimizer: the student.
        state: where the window begins. It counts as a constant: this is truncated backpropagation through time.
        batches: nest of tensors with a leading axis of T+1.
        objective: `Trajectory -> scalar`, the meta-loss.
        record: whether the objective looks at `Trajectory.updates`; `grads` and `params` are there then, as constants.
        xla: what XLA compiles, see `unroll.xla_part`.
        shape: of a loss, `()` or `(K,)`; see `unroll.unroll`.
        seed: int32 `[2]`, for what an estimator draws. Draw outside of XLA.
        memory: what `MetaGradient.start` or the last `Estimate` gave.
    """

    path: Path
    optimizer: Optimizer
    state: UnrollState
    batches: Batches
    objective: Callable[[Trajectory], tf.Tensor]
    record: bool = False
    xla: XlaPart | None = None
    shape: Sequence[int] = ()
    seed: tf.Tensor | None = None
    memory: Any = ()

    def run(self, phi: Sequence[tf.Tensor] | None = None) -> tuple[tf.Tensor, UnrollState, Trajectory]:
        """Runs the window without any gradient.

        Args:
            phi: meta-parameters; default: the student's own.

        Returns:
            `(meta_loss, state, trajectory)`. Plain automatic differentiation through it is the whole run's.
        """
        optimizer = self.optimizer if phi is None else self.optimizer.at(phi)
        kept = ("grads", "updates", "params") if self.record else ()

        def run(state, batches):
            after, losses, rows = unroll.run_steps(
                self.path, optimizer.loop(), state, batches, xla=self.xla, shape=self.shape, kept=kept
            )
            trajectory = Trajectory(losses, **{name: rows[name] for name in kept})
            return self.objective(trajectory), after, trajectory

        return unroll.of_window(run, self.xla)(self.state, self.batches)


class Estimate(NamedTuple):
    """What a meta-gradient makes of a window.

    Attributes:
        meta_loss: scalar.
        gradients: of the meta-loss, in the order of the student's `trainable_variables`.
        state: after the window.
        trajectory: of the student with its own φ.
        memory: for the next window of the run.
    """

    meta_loss: tf.Tensor
    gradients: list[tf.Tensor]
    state: UnrollState
    trajectory: Trajectory
    memory: Any = ()


class MetaGradient(abc.ABC):
    """An estimator of `∂(meta-loss)/∂φ`, one window at a time.

    `window` is traced into a `tf.function`, so it must be pure: it reads the window and returns the estimate. Memory of
    a run (accumulated perturbations, particles) goes through `start` and `memory`; what has to outlive a run and a
    checkpoint (a baseline, say) is in `variables`, which `window` may assign.

    The simplest one needs no gradient at all::

        class Evolution(MetaGradient):
            def window(self, window):
                phi = [v.value for v in window.optimizer.trainable_variables]
                noise = [tf.random.stateless_normal(x.shape, window.seed, stddev=0.01) for x in phi]   # a seed for each
                above, below = (window.run([x + s * e for x, e in zip(phi, noise)])[0] for s in (1.0, -1.0))
                meta_loss, state, trajectory = window.run()
                gradients = [(above - below) / (2 * 0.01**2) * e for e in noise]
                return Estimate(meta_loss, gradients, state, trajectory)

    Example:
        One that changes the estimate of another:

        >>> import l2o_tf as l2o
        >>> class Halved(l2o.MetaGradient):
        ...     def window(self, window):
        ...         found = l2o.FirstOrder().window(window)
        ...         return found._replace(gradients=[0.5 * g for g in found.gradients])
        >>> setting = l2o.Setting(l2o.make_problem("quadratic"), l2o.L2ODM(), meta_gradient=Halved())
    """

    @abc.abstractmethod
    def window(self, window: Window) -> Estimate:
        """The estimate, and the run after this window."""

    def start(self, optimizer: Optimizer, state: UnrollState) -> Any:
        """What it remembers at the start of a run: a nest of tensors. Default: nothing."""
        del optimizer, state
        return ()

    @property
    def variables(self) -> list[tf.Variable]:
        """What a checkpoint must hold. Default: nothing."""
        return []

    def for_played_steps(self) -> "MetaGradient":
        """What serves windows of recorded steps (`unroll.PlayedPath`), as in imitation.

        There, gradients and parameters are constants, so that first order is exact. Default: this one.
        """
        return self


@dataclasses.dataclass(frozen=True)
class ZeroNonfinite(MetaGradient):
    """The same estimate, in which entries that are not finite are 0, as in L2O-Scale's program.

    Args:
        inner: the estimator.

    Raises:
        ValueError: if it is none.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.ZeroNonfinite(l2o.WholeRun())
        ZeroNonfinite(inner=WholeRun())
    """

    inner: MetaGradient

    def __post_init__(self):
        require_meta_gradient("inner", self.inner)

    def window(self, window: Window) -> Estimate:
        found = self.inner.window(window)
        return found._replace(gradients=[tf.where(tf.math.is_finite(g), g, tf.zeros_like(g)) for g in found.gradients])

    def start(self, optimizer: Optimizer, state: UnrollState) -> Any:
        return self.inner.start(optimizer, state)

    @property
    def variables(self) -> list[tf.Variable]:
        return self.inner.variables

    def for_played_steps(self) -> MetaGradient:
        return ZeroNonfinite(self.inner.for_played_steps())


def require_meta_gradient(name: str, value: Any) -> None:
    """Raises ValueError unless the argument called `name` is a `MetaGradient`."""
    if not isinstance(value, MetaGradient):
        raise ValueError(f"Received {name}={value!r}, expected a meta-gradient such as FirstOrder().")
