"""Ways to differentiate a window: `first_order`, `whole_run`; `base` has their interface.

A new one is a subclass of `MetaGradient` in a file of its own, and a line here.
"""

from l2o_tf.unrolling.meta_gradients.base import Estimate, MetaGradient, Window, ZeroNonfinite
from l2o_tf.unrolling.meta_gradients.first_order import FirstOrder
from l2o_tf.unrolling.meta_gradients.whole_run import WholeRun

__all__ = ["Estimate", "FirstOrder", "MetaGradient", "WholeRun", "Window", "ZeroNonfinite"]
