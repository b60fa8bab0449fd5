"""Imitation: the student learns to do what an analytic optimizer would have done (paper, section 4.1, Algorithm 2).

A teacher `O` runs on the optimizee and leaves a trajectory of gradients and updates, `(g_t, Δθ_t^O)`. The student sees
the same gradients and is judged by the distance of its updates from the teacher's, Eq. (1)::

    L_O(φ) = Σ_t ω_t (Δθ_t^O - Δθ_t^φ)²

It never influences the trajectory ("off-policy"): the teacher's gradients are played to it as the linear problem
`f_t(θ) = ⟨g_t, θ⟩`, which has the gradient `g_t` wherever the student goes. So the one unroll serves here too.

With `teacher_steps = k > 1` the label is the sum of k teacher updates, each on a fresh minibatch, and the input is the
gradient of the first of them: the student learns to see k steps ahead.
"""

import tensorflow as tf

from l2o_tf.optimizers.base import Optimizer
from l2o_tf.training.lessons.lesson import Lesson, Optimizees, Outcome
from l2o_tf.unrolling import unroll
from problems.base import Problem


def squared_error(labels: tf.Tensor, updates: tf.Tensor, optimizees: int = 1) -> tf.Tensor:
    """Eq. (1) of the paper with `ω_t = 1`: the sum of squares over steps and coordinates, `[T, N]` both.

    Of several optimizees side by side, the mean of theirs.
    """
    return tf.reduce_sum(tf.square(labels - updates)) / optimizees


def half_mean_squared_error(labels: tf.Tensor, updates: tf.Tensor, optimizees: int = 1) -> tf.Tensor:
    """The original program's: `Σ_t 1/2 Σ_n (label - update)² / N`; the same for several optimizees side by side."""
    del optimizees
    return 0.5 * tf.reduce_sum(tf.reduce_mean(tf.square(labels - updates), axis=1))


DISTANCES = {"sum": squared_error, "half_mean": half_mean_squared_error}


def imitation(
    problem: Problem,
    student: Optimizer,
    teacher: Optimizer,
    *,
    teacher_steps: int = 1,
    distance=squared_error,
    jit_compile: bool = False,
    meta_batch_size: int = 1,
) -> Lesson:
    """The lesson in which `student` imitates `teacher`.

    Args:
        problem: what the teacher optimizes.
        student: the optimizer that learns.
        teacher: any optimizer; analytic in the paper.
        teacher_steps: k, teacher updates per label. Default 1, as in the original program.
        distance: `(labels, updates) -> scalar`, both `[T, N]`.
        jit_compile: whether XLA compiles the window, or the student's part of it where the problem says so.
        meta_batch_size: K, optimizees side by side; the loss is the mean of theirs. Default 1.

    Raises:
        ValueError: if the student or the teacher cannot run several side by side; see `mean_of`.
    """
    k, optimizees = teacher_steps, Optimizees.of(problem, meta_batch_size, student, teacher)
    problem, student = optimizees.problem, optimizees.in_blocks_if_large(student)
    xla = unroll.xla_part(problem, jit_compile)

    @tf.function(autograph=False)
    def compiled(run, batches):
        state, lecture = unroll.unroll(
            lambda params, batch: problem.loss(params, run.constants, batch),
            teacher,
            unroll.UnrollState(run.params, run.technique),
            batches,
            record=True,
            xla=xla,
            side_by_side=optimizees.count,
        )
        labels = tf.reduce_sum(tf.reshape(lecture.updates, [-1, k, lecture.updates.shape[1]]), axis=1)
        played = tf.concat([lecture.grads[::k], tf.zeros_like(lecture.grads[:1])], axis=0)
        imitation_loss, gradients, after, _ = unroll.meta_gradient(
            unroll.replayed,
            student,
            unroll.UnrollState(run.params, run.student),
            played,
            lambda trajectory: distance(labels, trajectory.updates, meta_batch_size),
            record=True,
            xla=xla,
        )
        run = run._replace(params=state.params, student=after.optimizer, technique=state.optimizer)
        return run, Outcome(imitation_loss, gradients, optimizees.mean_of_losses(lecture.losses), tf.constant(False))

    def window(run, seed, num_steps):
        return compiled(run, problem.sample(optimizees.seed(seed), num_steps * k + 1))

    return Lesson(
        f"imitation/{teacher.name}", lambda seed, meta_epoch: optimizees.first_run(student, seed, teacher), window
    )
