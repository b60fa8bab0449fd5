"""Ways to differentiate a window: `first_order`, `sampled`, `whole_run`; `base` has their interface.

To add one, write a subclass of `MetaGradient` in its own file, and add a line here.
"""

from l2o_tf.unrolling.meta_gradients.base import Estimate, MetaGradient, Window, ZeroNonfinite
from l2o_tf.unrolling.meta_gradients.first_order import FirstOrder
from l2o_tf.unrolling.meta_gradients.sampled import Sample, Sampled
from l2o_tf.unrolling.meta_gradients.whole_run import WholeRun

__all__ = ["Estimate", "FirstOrder", "MetaGradient", "Sample", "Sampled", "WholeRun", "Window", "ZeroNonfinite"]
