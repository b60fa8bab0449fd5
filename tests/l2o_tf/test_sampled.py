"""The sampled meta-gradient: over a partition of the coordinates, the mean of the estimates *is* the full gradient."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import devices
from l2o_tf.optimizers import blocks, make_optimizer
from l2o_tf.optimizers.analytic import adam
from l2o_tf.training.lessons.imitation import Imitation
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.lessons.self_improving import SelfImproving
from l2o_tf.training.meta_training import MetaTrainer
from l2o_tf.unrolling.meta_gradients import FirstOrder, Sampled, ZeroNonfinite, pull_back
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf.test_pull_back import Decaying

STEPS, TURNS = 4, 3
THIRD = Sampled(share=1 / 3, whole=5)
"""Of the tensors of 30, 5, 15 and 3 coordinates, two are whole; the others are covered by three windows."""


def rnnprop():
    return tiny.random_rnnprop(1, (3,), projection=2, spread=3.0, dtype="float64")[0]


def dm():
    return tiny.random_student(1, (4, 3), spread=3.0, scale=0.3, dtype="float64")[0]


def size(params, constants):
    """A loss that is not the one whose gradients the student sees."""
    return sum(tf.reduce_sum(tensor**2) for tensor in params.values()) + tf.reduce_sum(constants["shift"])


CASES = {
    "L2O-DM": (dm, OwnTrajectory(objective="log_mean"), {}),
    "judged by another loss": (dm, OwnTrajectory(judge=size), {"meta_batch_size": 3}),
    "RNNprop, XLA": (rnnprop, OwnTrajectory(), {"jit_compile": True}),
    "a rule that looks at everything": (Decaying, OwnTrajectory(), {"meta_batch_size": 3}),
    "in blocks": (dm, OwnTrajectory(), {}),
    "imitation": (dm, Imitation((adam(0.1),), teacher_steps=2), {"jit_compile": True}),
    "imitation, looks at everything": (Decaying, Imitation((adam(0.1),), distance="half_mean"), {"meta_batch_size": 3}),
    "imitation in blocks": (dm, Imitation((adam(0.1),)), {}),
    "self-improving": (dm, SelfImproving((adam(0.1),), initial_probability=0.3), {}),
}


def second_window(lesson):
    """The outcome of the second window of a run, which begins with states that are not zero."""
    run = lesson.start(make_seed(1), tf.constant(0), 2 * STEPS)
    run, _ = lesson.window(run, make_seed(2), STEPS)
    return lesson.window(run, make_seed(3), STEPS)[1]


@pytest.mark.parametrize("case", CASES)
def test_over_a_partition_its_mean_is_the_full_gradient(case, monkeypatch):
    make, technique, options = CASES[case]
    student, problem, turn, draw = make(), tiny.perceptron(4, tf.float64), tf.Variable(0), Sampled.draw
    monkeypatch.setattr(Sampled, "draw", lambda self, key, _, *rest: draw(self, key, turn.value(), *rest))
    monkeypatch.setattr(devices, "has_gpu", lambda: True)  # optimizees side by side
    if "blocks" in case:
        monkeypatch.setattr(blocks, "LARGE", 10)
        monkeypatch.setattr(blocks, "SIZE", 20)
    full, sampled = (
        technique.lessons(lessons.setting(problem, student, method, **options))[0] for method in (FirstOrder(), THIRD)
    )
    expected, found = second_window(full), []
    for part in range(TURNS):
        turn.assign(part)
        found.append(second_window(sampled))
    names = list(student.named_variables)
    mean = [np.mean(parts, axis=0) for parts in zip(*(each.gradients for each in found), strict=True)]
    tiny.assert_gradients(mean, dict(zip(names, expected.gradients, strict=True)), rtol=1e-9)
    np.testing.assert_allclose(np.mean([each.meta_loss for each in found]), expected.meta_loss, rtol=1e-9)
    different = [not np.allclose(one, two, rtol=1e-3) for one, two in zip(found[0].gradients, mean, strict=True)]
    assert any(different), "every part is the whole"


def test_windows_take_turns_and_runs_have_orders_of_their_own():
    params, _ = tiny.perceptron(4).init(make_seed(0))
    turns = [THIRD.draw(make_seed(1), turn, params).where.numpy() for turn in range(TURNS + 1)]
    whole = {*range(30, 35), *range(50, 53)}
    assert all(whole < set(turn) and len(turn) == 10 + 5 + 5 + 3 for turn in turns)
    assert set(np.concatenate(turns[:TURNS])) == set(range(tiny.SIZE))
    assert np.array_equal(turns[0], turns[TURNS])
    assert not np.array_equal(turns[0], THIRD.draw(make_seed(2), 0, params).where)


@pytest.mark.parametrize("all_of_it", [Sampled(1.0), Sampled(0.1, whole=30)])
def test_a_sample_of_everything_is_first_order_bit_for_bit(all_of_it):
    student = dm()
    both = [
        second_window(lessons.own_trajectory(tiny.perceptron(4, tf.float64), student, meta_gradient=method))
        for method in (FirstOrder(), all_of_it)
    ]
    for one, two in zip(*(tf.nest.flatten(each) for each in both), strict=True):
        assert np.array_equal(one, two)


def test_a_long_window_is_replayed_in_blocks(monkeypatch):
    student, problem = dm(), tiny.perceptron(4, tf.float64)

    def gradients():
        return second_window(lessons.own_trajectory(problem, student, meta_gradient=THIRD, jit_compile=True)).gradients

    expected = gradients()
    monkeypatch.setattr(pull_back, "REPLAYED_AT_ONCE", 1)
    monkeypatch.setattr(pull_back, "MAX_BYTES", 2 * 8 * STEPS * 2 * (4 + 3) * 8)
    tiny.assert_gradients(gradients(), dict(zip(student.named_variables, expected, strict=True)), rtol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampled(0.0), "Received share=0.0, expected"),
        (lambda: Sampled(whole=-1), "Received whole=-1"),
        (
            lambda: MetaTrainer(
                make_optimizer("L2O-Scale", {}),
                tiny.perceptron(4),
                curriculum=20,
                meta_gradient=ZeroNonfinite(Sampled()),
            ),
            "L2O-Scale, which does not treat coordinates one by one",
        ),
    ],
)
def test_what_it_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
