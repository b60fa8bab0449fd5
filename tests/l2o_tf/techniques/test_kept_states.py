"""States that outlive a run."""

import math

import numpy as np
import tensorflow as tf

from l2o_tf.optimizers import make_optimizer
from l2o_tf.optimizers.analytic import adam
from l2o_tf.training.lessons import technique
from l2o_tf.training.lessons.imitation import imitation
from l2o_tf.training.lessons.kept_states import KeptStates
from l2o_tf.training.lessons.lesson import own_trajectory
from l2o_tf.training.lessons.technique import OwnTrajectory
from l2o_tf.unrolling.objectives import total
from problems import PROBLEM_SETS
from problems.base import make_seed
from problems.sets import MadeOnce
from tests.l2o_tf import tiny, training

STEPS, EPOCH = 3, tf.constant(0)


def same(ours, theirs) -> bool:
    pairs = zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_a_run_begins_with_the_states_before_the_last_window_of_the_run_before():
    """At parameters of its own; whichever lesson that run was, and through a checkpoint's variables."""
    student, problem = make_optimizer("L2O-Scale"), tiny.perceptron(4)
    alone = own_trajectory(problem, student, objective=total)
    kept = KeptStates(alone)
    lesson, imitating = kept.around(alone), kept.around(imitation(problem, student, adam(0.1)))

    run = lesson.start(make_seed(1), EPOCH)
    assert same(run.student, alone.start(make_seed(1), EPOCH).student), "nothing is kept before the first run"
    states = []
    for seed in (5, 6):
        states.append(run.student)
        run, _ = lesson.window(run, make_seed(seed), STEPS)
    assert not same(states[0], states[1]) and not same(states[1], run.student)

    again = imitating.start(make_seed(2), EPOCH)
    assert same(again.student, states[1])
    assert same(again.params, problem.init(make_seed(2))[0])
    assert again.student.step == STEPS
    imitating.window(imitating.window(again, make_seed(7), STEPS)[0], make_seed(8), STEPS)
    later = lesson.start(make_seed(3), EPOCH).student
    assert later.step == 2 * STEPS

    restored = KeptStates(alone)
    for ours, theirs in zip(restored.variables, kept.variables, strict=True):
        ours.assign(theirs)
    assert same(restored.around(alone).start(make_seed(3), EPOCH).student, later)


def test_each_member_of_a_set_has_its_own():
    """Their tensors differ in shape; a checkpoint holds them all."""
    problems = MadeOnce(PROBLEM_SETS["norm_problems"])
    trained = training.trainer(problems, training.student("RNNprop"), lessons=technique.KeptStates(OwnTrajectory()))
    with training.eagerly():
        names = {trained.advance().problem for _ in range(4)}
    assert len(names) > 1
    each = len(trained.checkpointables()["kept"]) // len(trained.problems)
    begun = trained.checkpointables()["kept"][each - 1 :: each]
    assert sum(bool(any_kept.numpy()) for any_kept in begun) == len(names)


def test_in_a_compiled_loop():
    """Assigned within `tf.while_loop`, as the trainer does it."""
    student = make_optimizer("L2O-Scale")
    alone = own_trajectory(tiny.perceptron(4), student, objective=total)
    kept = KeptStates(alone)
    lesson = kept.around(alone)

    @tf.function(autograph=False)
    def run(seed, windows):
        def window(w, run):
            return w + 1, lesson.window(run, make_seed(9), STEPS)[0]

        return tf.while_loop(lambda w, run: w < windows, window, (0, lesson.start(seed, EPOCH)))[1].student.step

    assert [int(run(make_seed(seed), 3)) for seed in (1, 2)] == [3 * STEPS, 5 * STEPS]


def test_states_that_are_not_finite_are_not_kept():
    """A run that begins with them could only end in its first window, and so could every later one."""
    alone = own_trajectory(tiny.perceptron(4), make_optimizer("RNNprop"), objective=total)
    kept = KeptStates(alone)
    lesson = kept.around(alone)
    run = lesson.start(make_seed(1), EPOCH)
    later, _ = lesson.window(run, make_seed(5), STEPS)
    lesson.window(later, make_seed(6), STEPS)

    *states, last = tf.nest.flatten(later.student)
    spoiled = tf.nest.pack_sequence_as(later.student, [*states, last + math.nan])
    lesson.window(later._replace(student=spoiled), make_seed(7), STEPS)
    assert same(lesson.start(make_seed(2), EPOCH).student, later.student)

    never = KeptStates(alone)
    never.around(alone).window(run._replace(student=spoiled), make_seed(7), STEPS)
    assert same(never.around(alone).start(make_seed(2), EPOCH).student, run.student)
