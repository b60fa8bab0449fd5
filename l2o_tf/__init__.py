"""Learning to optimize: optimizers that are trained, in TensorFlow.

Importing this package loads nothing heavy; import the module that you need, e.g. `l2o_tf.unroll`.
"""

__version__ = "0.1.0"
