"""What every meta-gradient is: a way to turn one window of an unroll into an estimate of `∂(meta-loss)/∂φ`."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.optimizers.base import Optimizer
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.unroll import Batches, Path, Trajectory, UnrollState, XlaPart
from problems.base import Seed


class Window(NamedTuple):
    """One truncation window, with all that is needed to run it.

    Attributes:
        path: which steps the rule sees: `unroll.OwnPath(loss_fn, judge)`, or `unroll.PlayedPath()`.
        optimizer: the student.
        state: where the window begins. It counts as a constant: this is truncated backpropagation through time.
        batches: nest of tensors with a leading axis of T+1.
        objective: `Trajectory -> scalar`, the meta-loss. For played steps it also takes a `Sample`: then the trajectory
            has these coordinates only, and the objective returns an unbiased estimate.
        record: whether the objective uses `Trajectory.updates`. Then `grads` and `params` are recorded, too; they are
            constants.
        xla: which part XLA compiles, see `unroll.xla_part`.
        shape: of a loss, `()` or `(K,)`; see `unroll.unroll`.
        seed: int32 `[2]`, for what an estimator draws. Draw outside of XLA.
        memory: from `MetaGradient.start`, or from the `Estimate` of the window before.
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

    @property
    def phi(self) -> list[tf.Tensor]:
        """The student's meta-parameters."""
        return [variable.value for variable in self.optimizer.trainable_variables]

    def run(self, phi: Sequence[tf.Tensor] | None = None) -> tuple[tf.Tensor, UnrollState, Trajectory]:
        """Runs the window without any gradient.

        Args:
            phi: meta-parameters; default: the student's own.

        Returns:
            `(meta_loss, state, trajectory)`. Automatic differentiation of `meta_loss` gives `WholeRun`'s gradient.
        """
        optimizer = self.optimizer if phi is None else self.optimizer.at(phi)
        options = {"record": self.record, "xla": self.xla, "shape": self.shape}

        def run(state, batches):
            after, trajectory, _ = unroll.run_steps(self.path, optimizer.loop(), state, batches, **options)
            return self.objective(trajectory), after, trajectory

        return unroll.of_window(run, self.xla)(self.state, self.batches)


class Estimate(NamedTuple):
    """What a meta-gradient computes from a window.

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

    `window` is traced into a `tf.function`, so it must be pure: it reads the window and returns the estimate. If an
    estimator needs memory within a run (for example accumulated perturbations), it returns it from `start` and in
    `Estimate.memory`. If the memory must survive a run and be in checkpoints (for example a baseline), put it into
    `variables`; `window` may assign them.

    A simple estimator without any gradient::

        class Evolution(MetaGradient):
            def window(self, window):
                noise = [tf.random.stateless_normal(x.shape, window.seed, stddev=0.01) for x in window.phi]
                above, below = (window.run([x + s * e for x, e in zip(window.phi, noise)])[0] for s in (1.0, -1.0))
                meta_loss, state, trajectory = window.run()
                gradients = [(above - below) / (2 * 0.01**2) * e for e in noise]
                return Estimate(meta_loss, gradients, state, trajectory)

    Example:
        An estimator that changes the estimate of another:

        >>> import l2o_tf as l2o
        >>> class Halved(l2o.MetaGradient):
        ...     def window(self, window):
        ...         found = l2o.FirstOrder().window(window)
        ...         return found._replace(gradients=[0.5 * g for g in found.gradients])
        >>> setting = l2o.Setting(l2o.make_problem("quadratic"), l2o.L2ODM(), meta_gradient=Halved())
    """

    @abc.abstractmethod
    def window(self, window: Window) -> Estimate:
        """Returns the estimate, and the state after this window."""

    def start(self, optimizer: Optimizer, state: UnrollState, seed: Seed, shape: Sequence[int] = ()) -> Any:
        """The memory at the start of a run: a nest of tensors; `seed` and `shape` as in `Window`. Default: nothing."""
        del optimizer, state, seed, shape
        return ()

    @property
    def variables(self) -> list[tf.Variable]:
        """Variables that checkpoints store. Default: none."""
        return []

    def check(self, optimizer: Optimizer) -> None:
        """Raises ValueError if there is no such estimate for this optimizer. Default: there is one for any."""
        del optimizer

    def for_played_steps(self) -> "MetaGradient":
        """The meta-gradient for windows of recorded steps (`unroll.PlayedPath`), as in imitation.

        Gradients and parameters are constants there, so first order is exact. Default: this one.
        """
        return self


@dataclasses.dataclass(frozen=True)
class ZeroNonfinite(MetaGradient):
    """Wraps a meta-gradient and sets entries that are not finite to 0, as L2O-Scale's program does.

    Args:
        inner: the meta-gradient.

    Raises:
        ValueError: if `inner` is no meta-gradient.

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

    def start(self, optimizer: Optimizer, state: UnrollState, seed: Seed, shape: Sequence[int] = ()) -> Any:
        return self.inner.start(optimizer, state, seed, shape)

    def check(self, optimizer: Optimizer) -> None:
        self.inner.check(optimizer)

    @property
    def variables(self) -> list[tf.Variable]:
        return self.inner.variables

    def for_played_steps(self) -> MetaGradient:
        return ZeroNonfinite(self.inner.for_played_steps())


def require_meta_gradient(name: str, value: Any) -> None:
    """Raises ValueError unless the argument called `name` is a `MetaGradient`."""
    if not isinstance(value, MetaGradient):
        raise ValueError(f"Received {name}={value!r}, expected a meta-gradient such as FirstOrder().")
