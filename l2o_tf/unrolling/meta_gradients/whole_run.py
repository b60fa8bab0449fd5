"""The meta-gradient of the whole run: the optimizee's gradients are differentiated too ("second derivatives")."""

import dataclasses

import tensorflow as tf

from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients.base import Estimate, MetaGradient, Window
from l2o_tf.unrolling.meta_gradients.first_order import FirstOrder


@dataclasses.dataclass(frozen=True)
class WholeRun(MetaGradient):
    """Differentiates everything that happens in a window, by automatic differentiation.

    It takes more time and memory than `FirstOrder`, because each step of the optimizee is differentiated twice. XLA
    compiles all of a window or nothing, because the gradient flows through both the optimizer and the optimizee.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.WholeRun()
        WholeRun()
    """

    def window(self, window: Window) -> Estimate:
        def whole(state, batches):
            with tf.GradientTape() as tape:
                meta_loss, after, trajectory = window._replace(state=state, batches=batches, xla=None).run()
            gradients = tape.gradient(meta_loss, window.phi, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return Estimate(meta_loss, gradients, after, trajectory)

        return unroll.of_window(whole, window.xla)(window.state, window.batches)

    def for_played_steps(self) -> MetaGradient:
        return FirstOrder()
