"""States that outlive a run."""

import math

import numpy as np
import tensorflow as tf

from l2o_tf.optimizers import make_optimizer
from l2o_tf.training.lessons.imitation import Imitation
from l2o_tf.training.lessons.kept_states import KeptStates, States
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from problems import PROBLEM_SETS
from problems.base import make_seed
from problems.sets import MadeOnce
from tests.l2o_tf import lessons, tiny, training

STEPS, EPOCH = 3, tf.constant(0)


def same(ours, theirs) -> bool:
    pairs = zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def kept(technique, setting, states=None):
    return KeptStates(technique, states or States()).lessons(setting)[0]


def test_a_run_begins_with_the_states_before_the_last_window_of_the_run_before():
    """At parameters of its own; whichever technique that run was, and through a checkpoint's variables."""
    student, problem = make_optimizer("L2O-Scale"), tiny.perceptron(4)
    setting, states = lessons.setting(problem, student), States()
    alone, technique = OwnTrajectory().lessons(setting)[0], KeptStates(OwnTrajectory(), states)
    (lesson,), (imitating,) = (one.lessons(setting) for one in (technique, KeptStates(Imitation(), states)))

    run = lesson.start(make_seed(1), EPOCH)
    assert same(run.state.optimizer, alone.start(make_seed(1), EPOCH).state.optimizer), "kept before the first run"
    found = []
    for seed in (5, 6):
        found.append(run.state.optimizer)
        run, _ = lesson.window(run, make_seed(seed), STEPS)
    assert not same(found[0], found[1]) and not same(found[1], run.state.optimizer)

    again = imitating.start(make_seed(2), EPOCH)
    assert same(again.state.optimizer, found[1])
    assert same(again.state.params, problem.init(make_seed(2))[0])
    assert again.state.optimizer.step == STEPS
    imitating.window(imitating.window(again, make_seed(7), STEPS)[0], make_seed(8), STEPS)
    later = lesson.start(make_seed(3), EPOCH).state.optimizer
    assert later.step == 2 * STEPS

    again = kept(OwnTrajectory(), setting)
    for ours, theirs in zip(again.variables, lesson.variables, strict=True):
        ours.assign(theirs)
    assert same(again.start(make_seed(3), EPOCH).state.optimizer, later)


def test_each_member_of_a_set_has_its_own():
    """Their tensors differ in shape; a checkpoint holds them all."""
    problems = MadeOnce(PROBLEM_SETS["norm_problems"])
    trained = training.trainer(problems, training.student("RNNprop"), lessons=KeptStates(OwnTrajectory()))
    with training.eagerly():
        names = {trained.advance().problem for _ in range(4)}
    assert len(names) > 1
    each = len(trained.checkpointables()["kept"]) // len(trained.problems)
    begun = trained.checkpointables()["kept"][each - 1 :: each]
    assert sum(bool(any_kept.numpy()) for any_kept in begun) == len(names)


def test_in_a_compiled_loop():
    """Assigned within `tf.while_loop`, as the trainer does it."""
    lesson = kept(OwnTrajectory(), lessons.setting(tiny.perceptron(4), make_optimizer("L2O-Scale")))

    @tf.function(autograph=False)
    def run(seed, windows):
        def window(w, run):
            return w + 1, lesson.window(run, make_seed(9), STEPS)[0]

        return tf.while_loop(lambda w, run: w < windows, window, (0, lesson.start(seed, EPOCH)))[1].state.optimizer.step

    assert [int(run(make_seed(seed), 3)) for seed in (1, 2)] == [3 * STEPS, 5 * STEPS]


def test_states_that_are_not_finite_are_not_kept():
    """A run that begins with them could only end in its first window, and so could every later one."""
    setting = lessons.setting(tiny.perceptron(4), make_optimizer("RNNprop"))
    lesson = kept(OwnTrajectory(), setting)
    run = lesson.start(make_seed(1), EPOCH)
    later, _ = lesson.window(run, make_seed(5), STEPS)
    lesson.window(later, make_seed(6), STEPS)

    *states, last = tf.nest.flatten(later.state.optimizer)
    spoiled = tf.nest.pack_sequence_as(later.state.optimizer, [*states, last + math.nan])
    lesson.window(with_state(later, spoiled), make_seed(7), STEPS)
    assert same(lesson.start(make_seed(2), EPOCH).state.optimizer, later.state.optimizer)

    never = kept(OwnTrajectory(), setting)
    never.window(with_state(run, spoiled), make_seed(7), STEPS)
    assert same(never.start(make_seed(2), EPOCH).state.optimizer, run.state.optimizer)


def with_state(run, state):
    return run._replace(state=run.state._replace(optimizer=state))
