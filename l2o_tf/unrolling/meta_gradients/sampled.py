"""The first-order meta-gradient, estimated from a sample of the optimizee's coordinates.

If a rule treats coordinates one by one, the first-order meta-gradient is a sum over coordinates c. What each adds needs
nothing of the others (`first_order.py` has λ and σ)::

    dφ  = Σ_c dφ_c,    dφ_c = Σ_t (∂Δθ_t,c/∂φ)ᵀ λ_t+1,c + (∂s_t+1,c/∂φ)ᵀ σ_t+1,c
    dφ^ = Σ_c∈S dφ_c / q_c,                                     q_c: the probability that c is in the sample S

So `E[dφ^] = dφ`. The forward pass moves all coordinates, but stores no states. For the sample, the states are computed
again, and pulled back. Small tensors (biases, last layers) are in the sample as a whole, `q_c = 1`. Of a tensor of n
entries, m = q n are drawn without replacement: a run shuffles the n entries once, and each window takes the next m of
them, in a circle. (Every 8th entry of a matrix of 20 columns would be of the same few columns.)

When recorded steps are played, as in imitation, the student's updates move nothing. Then even its forward pass is for
the sample only, which stays the same for all windows of a run.

L2O-Scale has no such estimate. Its coordinates read the mean of all coordinates of their tensor. In the backward pass,
σ of a coordinate then depends on σ of the tensor, which is itself a sum over coordinates. With a sample in the place of
each sum, products of estimates from the same sample arise, and the expectation of a product is not the product of
expectations. A new sample for each step would help, but σ of its coordinates needs all later steps, so all coordinates.
"""

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.base import Optimizer, Params, Sampling
from l2o_tf.unrolling.meta_gradients.base import Estimate, MetaGradient, Window
from l2o_tf.unrolling.meta_gradients.first_order import FirstOrder, estimate, forward
from l2o_tf.unrolling.meta_gradients.pull_back import Kept, Weights, pull_back
from l2o_tf.unrolling.unroll import PlayedPath, Sample, UnrollState
from problems.base import Seed, fold, require_not_negative


@dataclasses.dataclass(frozen=True)
class Sampled(MetaGradient):
    """An unbiased estimate of `FirstOrder`'s meta-gradient, from a share of the optimizee's coordinates.

    It saves most of the backward pass, and the memory for states. It needs an optimizer that treats coordinates one by
    one: L2O-DM, RNNprop, or a cell or rule of your own that is `coordinatewise`.

    Args:
        share: q in (0, 1], of each tensor that is not small. Default 1/8. 1: `FirstOrder` itself.
        whole: tensors of up to so many entries are in every sample as a whole. Default 512.

    Raises:
        ValueError: if an argument is out of range; by `check`, for an optimizer whose coordinates depend on each other.

    Example:
        >>> import l2o_tf as l2o
        >>> student, problem = l2o.L2ODM(layers=(2,)), l2o.make_problem("quadratic")
        >>> l2o.MetaTrainer(student, problem, curriculum=20, meta_gradient=l2o.Sampled(0.25)).meta_gradient
        Sampled(share=0.25, whole=512)
    """

    share: float = 0.125
    whole: int = 512

    def __post_init__(self):
        if not isinstance(self.share, numbers.Real) or not 0 < self.share <= 1:
            raise ValueError(f"Received share={self.share!r}, expected a number above 0, at most 1.")
        require_not_negative("whole", self.whole)

    def check(self, optimizer: Optimizer) -> None:
        _sampling(optimizer)

    def start(self, optimizer: Optimizer, state: UnrollState, seed: Seed, shape: Sequence[int] = ()) -> Any:
        """`(key, turn)`: what decides the run's order of coordinates, and the number of windows so far."""
        return seed, tf.zeros([], tf.int32)

    def window(self, window: Window) -> Estimate:
        key, turn, like = *window.memory, window.state.params
        if self.size(like, *window.shape) == nest.size(like):
            return FirstOrder().window(window)._replace(memory=window.memory)
        sampling, sample = _sampling(window.optimizer), self.draw(key, turn, like, *window.shape)
        meta_loss, after, trajectory, kept, weights = forward(
            window,
            window.optimizer.loop(),
            replay=True,
            reduce=lambda kept, weights: _of_sample(kept, weights, sampling, sample, like),
        )
        jit_compile, block = window.xla is not None, {"block": kept.last}
        gradients = pull_back(sampling.loop(), window.phi, block, kept, weights, jit_compile=jit_compile)
        return Estimate(meta_loss, gradients, after, trajectory, (key, turn + 1))

    def for_played_steps(self) -> MetaGradient:
        return SampledSteps(self)

    def draw(self, key: Seed, turn: int | tf.Tensor, like: Params, count: int = 1) -> Sample:
        """The sample of a window.

        Args:
            key: int32 `[2]`, decides the order of the coordinates.
            turn: int32, the number of the window.
            like: the optimizee's parameters; or those of `count` side by side, with that leading axis.
            count: K, number of optimizees.
        """
        where, weight, optimizee, first = [], [], [], 0
        for index, n in enumerate(nest.sizes(like)):
            m = self._part(n, count)
            chosen = tf.range(n)
            if m < n:
                positions = tf.cast((tf.cast(turn, tf.int64) * m + tf.range(m, dtype=tf.int64)) % n, tf.int32)
                chosen = tf.random.experimental.index_shuffle(positions, fold(key, index), n - 1)
            where.append(first + chosen)
            weight.append(tf.fill([m], tf.constant(n / m, next(iter(like.values())).dtype)))
            optimizee.append(chosen // (n // count))
            first += n
        joined = [tf.concat(parts, axis=0) for parts in (where, weight, optimizee)]
        return Sample(*joined[:2], joined[2] if count > 1 else None)

    def size(self, like: Params, count: int = 1) -> int:
        """Number of coordinates in a sample; arguments as in `draw`."""
        return sum(self._part(n, count) for n in nest.sizes(like))

    def _part(self, n: int, count: int) -> int:
        return n if n <= count * self.whole else max(1, round(self.share * n))


@dataclasses.dataclass(frozen=True)
class SampledSteps(MetaGradient):
    """`Sampled` for recorded steps: the student runs on the run's sample only.

    The memory has the state of the sample; the run's own state stays as it was. So under `KeptStates`, these runs
    begin with a new state, and leave none.

    Args:
        of: how the sample is drawn.
    """

    of: Sampled

    def start(self, optimizer: Optimizer, state: UnrollState, seed: Seed, shape: Sequence[int] = ()) -> Any:
        """What decides the sample, and the optimizer's state of its coordinates."""
        sample, loop = self.of.draw(seed, 0, state.params, *shape), optimizer.loop()
        return seed, _sampling(optimizer).pick(loop.enter(state.optimizer), sample.where, state.params)

    def window(self, window: Window) -> Estimate:
        key, state = window.memory
        sample = self.of.draw(key, 0, window.state.params, *window.shape)
        played = window._replace(
            path=PlayedPath(sample),
            state=window.state._replace(params={"block": tf.zeros_like(sample.weight)}, optimizer=state),
            objective=lambda trajectory: window.objective(trajectory, sample),
        )
        loop = _sampling(window.optimizer).loop()._replace(enter=lambda state: state, leave=lambda state: state)
        found = estimate(played, loop, lambda kept, weights: (kept._replace(loss=sample.of_losses(kept.loss)), weights))
        return found._replace(state=window.state, memory=(key, found.state.optimizer))


def _sampling(optimizer: Optimizer) -> Sampling:
    """How the optimizer runs on a sample of the coordinates."""
    sampling = optimizer.loop().sampling
    if sampling is None:
        raise ValueError(
            f"Received the sampled meta-gradient with {optimizer.name}, which does not treat coordinates one by one. "
            "Use FirstOrder() (--meta_gradient=first_order)."
        )
    return sampling


def _of_sample(kept: Kept, weights: Weights, sampling: Sampling, sample: Sample, like: Params) -> tuple[Kept, Weights]:
    """What belongs to the sample, with its weights in the cotangents."""
    grads = sample.of(kept.grads)
    return kept._replace(
        grads=grads,
        slopes=sample.weight * (grads if kept.slopes is None else sample.of(kept.slopes)),
        last=sample.weight * sample.of(kept.last),
        start=sampling.pick(kept.start, sample.where, like),
        theta=sample.of(kept.theta),
        loss=sample.of_losses(kept.loss),
    ), Weights(
        weights.losses if weights.losses.shape[1] == 1 else sample.of(weights.losses),
        None if weights.updates is None else sample.weight * sample.of(weights.updates),
    )
