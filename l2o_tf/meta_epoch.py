"""One meta-epoch, compiled: a lesson over as many truncation windows as the horizon has, an update of φ after each.

The number of windows is a tensor, so one trace serves every stage of a curriculum. Nothing leaves the device before the
meta-epoch ends.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from l2o_tf.techniques.lesson import Lesson
from problems.base import Seed, fold

_START, _WINDOW = 0, 1


class Report(NamedTuple):
    """What a meta-epoch was like; scalars.

    Attributes:
        meta_loss: mean over windows.
        final_loss: the optimizee's last loss; for imitation, of the teacher's run.
        gradient_norm: largest global norm of the meta-gradient, before any clipping.
        num_windows: windows that were run.
        diverged: whether a window gave a non-finite meta-loss or meta-gradient. It is skipped and the run ends there.
    """

    meta_loss: tf.Tensor
    final_loss: tf.Tensor
    gradient_norm: tf.Tensor
    num_windows: tf.Tensor
    diverged: tf.Tensor


def compile_meta_epoch(
    lesson: Lesson, variables: list[keras.Variable], meta_optimizer: keras.optimizers.Optimizer
) -> Callable[[Seed, tf.Tensor, tf.Tensor], Report]:
    """Compiles `(seed, meta_epoch, num_windows) -> Report`, which trains `variables` with `meta_optimizer`.

    Args:
        lesson: what to learn from.
        variables: the student's meta-parameters φ.
        meta_optimizer: its slots are this lesson's own.
    """
    meta_optimizer.build(variables)

    def train_window(window, carry, seed, report):
        carry, outcome = lesson.window(carry, fold(seed, _WINDOW, window))
        norm = tf.linalg.global_norm(outcome.gradients)
        diverged = ~(tf.math.is_finite(norm) & tf.math.is_finite(outcome.meta_loss))
        tf.cond(diverged, lambda: None, lambda: meta_optimizer.apply(outcome.gradients, variables))
        return carry, Report(
            meta_loss=report.meta_loss + outcome.meta_loss,
            final_loss=outcome.losses[-1],
            gradient_norm=tf.maximum(report.gradient_norm, norm),
            num_windows=window + 1,
            diverged=diverged,
        )

    @tf.function(autograph=False)
    def meta_epoch(seed, epoch, num_windows):
        zero, none = tf.zeros([]), tf.zeros([], tf.int32)
        _, report = tf.while_loop(
            lambda carry, report: (report.num_windows < num_windows) & ~report.diverged,
            lambda carry, report: train_window(report.num_windows, carry, seed, report),
            (lesson.start(fold(seed, _START), epoch), Report(zero, zero, zero, none, tf.constant(False))),
        )
        return report._replace(meta_loss=report.meta_loss / tf.cast(report.num_windows, tf.float32))

    return meta_epoch
