"""How minibatches are drawn: `(seed, num_steps) -> int32 row numbers [num_steps, batch_size]`."""

from collections.abc import Callable

import tensorflow as tf

from problems.base import Seed, fold, require_positive

Sample = Callable[[Seed, int], tf.Tensor]

QUEUE = 1384
"""Images that the original program's queue holds: 1,000 and three minibatches of 128."""


def with_replacement(size: int, batch_size: int) -> Sample:
    """Every row with the same probability at every draw, as the original program draws from MNIST."""

    def sample(seed, num_steps):
        return tf.random.stateless_uniform([num_steps, batch_size], seed, 0, size, tf.int32)

    return sample


def shuffled_queue(size: int, batch_size: int, capacity: int = QUEUE) -> Sample:
    """Passes through the rows in their order, mixed by a queue, as the original program draws from CIFAR-10.

    The queue is always full, and a random one of its rows leaves it at each draw. So row p of the pass enters at draw
    `max(p − capacity, 0)` and waits for a time that is exponentially distributed with mean `capacity`: rows leave in
    the order of `max(p − capacity, 0) + capacity · Exp(1)`. Within a pass every row comes once. The pass begins at a
    random row, so that the windows of a run, which are sampled one by one, do not all see the same rows. Of the
    capacity, default 1,384 rows, at most `size` are used.
    """
    held = min(capacity, size)

    def sample(seed, num_steps):
        drawn = num_steps * batch_size
        position = tf.range(drawn + 12 * held)  # a row enters later than 12 queues: with probability e^-12 it is missed
        unit = tf.random.stateless_uniform(tf.shape(position), fold(seed, 0), dtype=tf.float64)
        waiting = -held * tf.math.log1p(-unit)
        leaves = tf.cast(tf.maximum(position - held, 0), tf.float64) + waiting
        first = tf.random.stateless_uniform([], fold(seed, 1), 0, size, tf.int32)
        rows = (tf.argsort(leaves)[:drawn] + first) % size
        return tf.reshape(rows, [num_steps, batch_size])

    return sample


def epochs(num_rows: int, batch_size: int) -> Sample:
    """Epochs of minibatches.

    Each epoch is a new shuffle of all rows cut into minibatches; what is left over at its end is dropped. Every call
    begins with a new epoch. If there are fewer rows than `batch_size`, every minibatch is all rows.
    """
    require_positive("num_rows", num_rows)
    require_positive("batch_size", batch_size)
    batch_size = min(batch_size, num_rows)
    per_epoch = num_rows // batch_size

    def sample(seed, num_steps):
        num_epochs = -(-num_steps // per_epoch)
        keys = tf.random.stateless_uniform([num_epochs, num_rows], fold(seed, 0))
        order = tf.argsort(keys, axis=1, stable=True)[:, : per_epoch * batch_size]
        return tf.reshape(order, [num_epochs * per_epoch, batch_size])[:num_steps]

    return sample
