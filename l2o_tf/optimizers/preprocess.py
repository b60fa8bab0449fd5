"""What a coordinate-wise network sees instead of the raw gradient: `[N, 1] -> [N, F]`, or `[1, N] -> [F, N]`.

Gradients of neural networks span many orders of magnitude. Each function here is pure; the table `PREPROCESS` holds
them under the names that DeepMind's program gives them.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

LARGEST = 1e18
"""The square of a larger gradient, more than 1e38, would be infinite in float32."""


def bounded(gradients: tf.Tensor) -> tf.Tensor:
    """Clips gradients to ±1e18 and replaces NaN by 0, so that their squares are finite."""
    return tf.clip_by_value(tf.where(tf.math.is_nan(gradients), tf.zeros_like(gradients), gradients), -LARGEST, LARGEST)


def identity(gradients: tf.Tensor) -> tf.Tensor:
    """The gradient itself, `F = 1`."""
    return gradients


def clamp(gradients: tf.Tensor) -> tf.Tensor:
    """`min(max(g, -1), 1)`, `F = 1`."""
    return tf.clip_by_value(gradients, -1.0, 1.0)


def log_and_sign(gradients: tf.Tensor, k: float = 5.0, axis: int = -1) -> tf.Tensor:
    """Logarithm of the magnitude, and the sign where the gradient is small; `F = 2`::

        u_1 = max(ln(|g| + ε) / k, -1)          ε = 2^-23, float32's machine epsilon
        u_2 = min(max(g e^k, -1), 1)

    The original program clamps both parts everywhere, where Andrychowicz et al. (2016), appendix A, define two cases;
    there k is 10, in the program 5. `axis` is that of the features.

    Example:
        >>> import l2o_tf as l2o
        >>> import tensorflow as tf
        >>> print(l2o.log_and_sign(tf.constant([[1.0], [-1e-3]])).numpy().round(2))
        [[ 0.    1.  ]
         [-1.   -0.15]]
    """
    epsilon = float(np.finfo(np.float32).eps)
    log = tf.math.log(tf.abs(gradients) + epsilon)
    return tf.concat([tf.maximum(log / k, -1.0), clamp(gradients * math.exp(k))], axis=axis)


PREPROCESS: dict[str, Callable[..., tf.Tensor]] = {"identity": identity, "Clamp": clamp, "LogAndSign": log_and_sign}

FEATURES = {"identity": 1, "Clamp": 1, "LogAndSign": 2}
