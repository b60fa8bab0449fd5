"""What is measured on all rows of a data set, in the memory of a minibatch."""

from collections.abc import Callable

import tensorflow as tf


def mean_of_rows(
    function: Callable[[tf.Tensor], dict], size: int, batch_size: int, signature: dict[str, tf.TensorSpec]
) -> dict[str, tf.Tensor]:
    """The mean over all rows of what `function` says of one minibatch after the other: memory for one at a time.

    Args:
        function: int32 row numbers `[B]` -> the mean over these rows by name, as `signature` has it. B is `batch_size`,
            and for the last minibatch what is left.
        size: rows of the data set.
        batch_size: rows at a time.
        signature: shapes and types.
    """
    whole, rest = divmod(size, batch_size)
    function = tf.autograph.experimental.do_not_convert(function)  # else an eager `map_fn` does, for each minibatch
    total = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in signature.items()}
    if whole:
        rows = tf.reshape(tf.range(whole * batch_size), [whole, batch_size])
        found = tf.map_fn(function, rows, fn_output_signature=signature, parallel_iterations=1)
        total = {name: tf.reduce_sum(found[name], axis=0) * batch_size for name in total}
    if rest:
        found = function(tf.range(whole * batch_size, size))
        total = {name: value + found[name] * rest for name, value in total.items()}
    return {name: value / size for name, value in total.items()}
