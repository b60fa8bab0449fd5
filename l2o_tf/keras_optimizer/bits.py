"""bfloat16 numbers as their 16 bits, `int16`.

XLA has no bfloat16 on a CPU: to write a block of an array of them, it converts all of the array to float32 and back.
Of bits it writes the block.
"""

import tensorflow as tf


def packed(x: tf.Tensor) -> tf.Tensor:
    """The bits of the numbers, rounded to the nearest."""
    return tf.bitcast(tf.cast(x, tf.bfloat16), tf.int16)


def unpacked(x: tf.Tensor) -> tf.Tensor:
    """The numbers with these bits, in float32."""
    return tf.cast(tf.bitcast(x, tf.bfloat16), tf.float32)


def is_finite(x: tf.Tensor) -> tf.Tensor:
    """Which numbers of a state are finite, of which some are packed; other integers are."""
    x = unpacked(x) if x.dtype == tf.int16 else x
    return tf.math.is_finite(x) if x.dtype.is_floating else tf.ones_like(x, tf.bool)
