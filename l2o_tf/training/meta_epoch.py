"""One meta-epoch, compiled: a lesson over as many truncation windows as the horizon has, an update of φ after each."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from l2o_tf.common.workers import ALONE, Workers
from l2o_tf.training.lessons.lesson import Lesson
from problems.base import Seed, fold

_START, _WINDOW = 0, 1


class Report(NamedTuple):
    """What a meta-epoch was like; scalars.

    Attributes:
        meta_loss: mean over windows.
        final_loss: the optimizee's last loss; for imitation, of the teacher's run.
        gradient_norm: largest global norm of the meta-gradient, before any clipping.
        num_windows: windows that were run.
        num_steps: steps that were run.
        exploded: whether the run was ended because its loss had grown too much.
        diverged: whether a window gave a non-finite meta-loss or meta-gradient. It is skipped and the run ends there.
        lost: whether the meta-parameters that it leaves are not all finite.
    """

    meta_loss: tf.Tensor
    final_loss: tf.Tensor
    gradient_norm: tf.Tensor
    num_windows: tf.Tensor
    num_steps: tf.Tensor
    exploded: tf.Tensor
    diverged: tf.Tensor
    lost: tf.Tensor


MetaEpoch = Callable[[Seed, tf.Tensor, tf.Tensor], Report]


def compile_meta_epoch(
    lesson: Lesson,
    variables: list[keras.Variable],
    meta_optimizer: keras.optimizers.Optimizer,
    unroll_length: int | None = None,
    after_update: Callable[[], None] | None = None,
    workers: Workers = ALONE,
) -> MetaEpoch:
    """Compiles `(seed, meta_epoch, lengths) -> Report`, which trains `variables` with `meta_optimizer`.

    `lengths [W]`, int32, are the steps of the windows. They are a tensor, so one trace serves every stage of a
    curriculum. Nothing but what workers agree on leaves the device before the meta-epoch ends.

    Args:
        lesson: what to learn from.
        variables: the student's meta-parameters φ.
        meta_optimizer: its slots are this lesson's own.
        unroll_length: T, where every window has that length: then `lengths` only says how many there are, and shapes
            are static.
        after_update: called after every update of φ.
        workers: with whom each window's outcome is averaged; what decides is then decided alike everywhere.
    """
    meta_optimizer.build(variables)

    def update(gradients):
        meta_optimizer.apply(gradients, variables)
        if after_update:
            after_update()

    def train_window(run, lengths, seed, report):
        num_steps = unroll_length or lengths[report.num_windows]
        run, outcome = lesson.window(run, fold(seed, _WINDOW, report.num_windows), num_steps)
        outcome = workers.agree(outcome)
        norm = tf.linalg.global_norm(outcome.gradients)
        diverged = ~(tf.math.is_finite(norm) & tf.math.is_finite(outcome.meta_loss))
        tf.cond(diverged, lambda: None, lambda: update(outcome.gradients))
        return run, Report(
            meta_loss=report.meta_loss + outcome.meta_loss,
            final_loss=outcome.losses[-1],
            gradient_norm=tf.maximum(report.gradient_norm, norm),
            num_windows=report.num_windows + 1,
            num_steps=report.num_steps + num_steps,
            exploded=outcome.exploded,
            diverged=diverged,
            lost=report.lost,
        )

    signature = [tf.TensorSpec(shape, tf.int32) for shape in ([2], [], [None])]

    @tf.function(autograph=False, input_signature=signature)
    def meta_epoch(seed, epoch, lengths):
        horizon = tf.reduce_sum(lengths) if unroll_length is None else unroll_length * tf.size(lengths)
        zero, none, no = tf.zeros([]), tf.zeros([], tf.int32), tf.constant(False)
        _, report = tf.while_loop(
            lambda run, report: (report.num_windows < tf.size(lengths)) & ~report.diverged & ~report.exploded,
            lambda run, report: train_window(run, lengths, seed, report),
            (lesson.start(fold(seed, _START), epoch, horizon), Report(zero, zero, zero, none, none, no, no, no)),
        )
        lost = ~tf.reduce_all([tf.reduce_all(tf.math.is_finite(variable.value)) for variable in variables])
        return report._replace(meta_loss=report.meta_loss / tf.cast(report.num_windows, tf.float32), lost=lost)

    return meta_epoch
