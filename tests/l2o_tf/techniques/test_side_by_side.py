"""K optimizees in one step teach what K separate ones teach on average, and are evaluated alike."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import devices
from l2o_tf.common.workers import Share
from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers import make_optimizer
from l2o_tf.optimizers.analytic import adam
from l2o_tf.training.lessons.imitation import DISTANCES, Imitation
from l2o_tf.training.lessons.lesson import in_turn
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.lessons.self_improving import SelfImproving
from l2o_tf.unrolling import batch
from l2o_tf.unrolling.meta_gradients import WholeRun
from problems import make_problem
from problems.base import fold, make_seed
from problems.transforms.side_by_side import fold_each, side_by_side, split
from tests.l2o_tf import lessons, tiny

K, STEPS, EPOCH = 3, 6, tf.constant(0)
START, WINDOWS = make_seed(1), (make_seed(2), make_seed(3))


def separate(lesson):
    """Outcomes of K runs of a lesson with the seeds that the optimizees side by side have: `[window][k]`."""
    found = []
    runs = [lesson.start(seed, EPOCH) for seed in tf.unstack(split(START, K))]
    for seed in WINDOWS:
        steps = [lesson.window(run, own, STEPS) for run, own in zip(runs, tf.unstack(split(seed, K)), strict=True)]
        runs = [run for run, _ in steps]
        found.append([outcome for _, outcome in steps])
    return found


def together(lesson):
    run, found = lesson.start(START, EPOCH), []
    for seed in WINDOWS:
        run, outcome = lesson.window(run, seed, STEPS)
        found.append(outcome)
    return found


def assert_means(found, expected, names, rtol):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.meta_loss, np.mean([o.meta_loss for o in theirs]), rtol=rtol)
        np.testing.assert_allclose(ours.losses, np.mean([o.losses for o in theirs], axis=0), rtol=rtol)
        means = [np.mean(parts, axis=0) for parts in zip(*(o.gradients for o in theirs), strict=True)]
        tiny.assert_gradients(ours.gradients, dict(zip(names, means, strict=True)), rtol=rtol)


@pytest.mark.parametrize(
    "options",
    [{"objective": "sum", "jit_compile": True}, {"objective": "log_ratio", "meta_gradient": WholeRun()}],
    ids=["first order, XLA", "second derivatives"],
)
def test_own_trajectories(options, monkeypatch):
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    student, weights = tiny.random_student(1, (3,), spread=3.0, dtype="float64")
    expected = separate(lessons.own_trajectory(tiny.perceptron(4, tf.float64), student, **options))
    found = together(lessons.own_trajectory(tiny.perceptron(4, tf.float64), student, meta_batch_size=K, **options))
    assert_means(found, expected, weights, 1e-8)


@pytest.mark.parametrize("distance", DISTANCES)
def test_imitation(distance, monkeypatch):
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    student, weights = tiny.random_student(1, (3,), spread=3.0, dtype="float64")
    problem, options = tiny.perceptron(4, tf.float64), {"distance": DISTANCES[distance], "teacher_steps": 2}
    expected = separate(lessons.imitation(problem, student, adam(0.1), **options))
    found = together(lessons.imitation(problem, student, adam(0.1), meta_batch_size=K, **options))
    assert_means(found, expected, weights, 1e-8)


def test_in_turn():
    """For students whose coordinates depend on each other, and for several optimizers that share a trajectory."""
    student, weights = tiny.random_student(1, (3,), spread=3.0, dtype="float64")
    lesson = lessons.self_improving(tiny.perceptron(4, tf.float64), student, [adam(0.1)], objective="sum")
    assert_means(together(in_turn(lesson, Share().part(K))), separate(lesson), weights, 1e-10)


@pytest.mark.parametrize(("size", "calls"), [(1, 1), (6, 6), (16, 16), (17, 1), (34, 2), (256, 16)])
def test_a_processor_shares_them_and_a_gpu_takes_them_together(size, calls, monkeypatch):
    student, adam = make_optimizer("L2O-DM"), make_optimizer("adam")
    assert batch.num_calls(size, student, adam) == calls
    assert batch.num_calls(size, make_optimizer("L2O-Scale"), adam) == size
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    assert batch.num_calls(size, student) == 1


def test_both_ways_are_one_lesson(monkeypatch):
    student = make_optimizer("L2O-DM", {"seed": 1, "layers": [3]})
    setting = lessons.setting(make_problem("quadratic"), student, meta_batch_size=2, jit_compile=True)
    found = []
    for has_gpu in (False, True):
        monkeypatch.setattr(devices, "has_gpu", lambda has_gpu=has_gpu: has_gpu)
        both = [*OwnTrajectory().lessons(setting), *Imitation().lessons(setting)]
        found.append([outcome for lesson in both for outcome in together(lesson)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.meta_loss, other.meta_loss, rtol=1e-5)
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)
        tiny.assert_gradients(
            one.gradients, dict(zip(student.named_variables, other.gradients, strict=True)), rtol=1e-4
        )


@pytest.mark.parametrize(("count", "workers"), [(1, 1), (6, 3), (20, 4), (34, 2), (34, 17), (34, 34)])
def test_workers_divide_the_optimizees(count, workers):
    taken = []
    for index in range(workers):
        calls, beside = batch.divide(count, Share(index, workers), make_optimizer("L2O-DM"))
        assert calls.count * beside.count * workers == calls.total * beside.total == count
        taken += itertools.product(calls.of(range(calls.total)), beside.of(range(beside.total)))
    assert sorted(taken) == list(itertools.product(range(calls.total), range(beside.total)))


@pytest.mark.parametrize(
    ("technique", "has_gpu", "count"),
    [(SelfImproving((adam(0.1),)), False, 2), (OwnTrajectory(), True, 2), (Imitation((adam(0.1),)), True, 4)],
    ids=["a call each", "one each", "two each side by side"],
)
def test_workers_together_teach_what_one_process_does(technique, has_gpu, count, monkeypatch):
    """Each has the optimizees that are its share of one process's; the mean of the outcomes is that one's."""
    monkeypatch.setattr(devices, "has_gpu", lambda: has_gpu)
    student, weights = tiny.random_student(1, (3,), spread=3.0, dtype="float64")
    setting = lessons.setting(tiny.perceptron(4, tf.float64), student, meta_batch_size=count)
    (alone,) = technique.lessons(setting)
    parts = [technique.lessons(setting._replace(share=Share(index, 2)))[0] for index in range(2)]
    assert_means(together(alone), list(zip(*map(together, parts), strict=True)), weights, 1e-8)


def test_a_student_that_cannot_is_refused():
    with pytest.raises(ValueError, match="2 optimizees side by side with L2O-Scale, which does not treat"):
        batch.Optimizees(tiny.perceptron(4), 2, make_optimizer("adam"), make_optimizer("L2O-Scale"))


@pytest.mark.parametrize("optimizer", [adam(0.05), tiny.random_student(1, (3,))[0]], ids=["adam", "L2O-DM"])
def test_evaluation(optimizer):
    """Every run is what it is by itself, over several windows and with its measurements of all data."""
    options = {"num_runs": 4, "num_steps": 12, "window": 4, "full_period": 4}
    expected = rollouts.run(tiny.perceptron(4), optimizer, START, **options)
    found = rollouts.run(tiny.perceptron(4), optimizer, START, side_by_side=2, **options)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)
    for name, values in expected.full.items():
        np.testing.assert_allclose(found.full[name], values, rtol=1e-4)
    with pytest.raises(ValueError, match="side_by_side=3, expected a divisor of num_runs=4"):
        rollouts.run(tiny.perceptron(4), optimizer, START, side_by_side=3, **options)


def test_a_problem_and_its_seeds():
    """Each has the start, the minibatches and the loss that it has alone."""
    problem, many = tiny.perceptron(4), side_by_side(tiny.perceptron(4), K)
    seeds = split(START, K)
    np.testing.assert_array_equal(fold_each(seeds, 5, 6)[1], fold(fold(START, 1), 5, 6))
    params, constants = many.init(seeds)
    batches = many.sample(seeds, 2)
    losses = many.loss(params, constants, batches[1])
    for k, seed in enumerate(tf.unstack(seeds)):
        alone, fixed = problem.init(seed)
        np.testing.assert_array_equal(params["w1"][k], alone["w1"])
        np.testing.assert_array_equal(batches[:, k], problem.sample(seed, 2))
        np.testing.assert_allclose(losses[k], problem.loss(alone, fixed, batches[1, k]), rtol=1e-6)
    with pytest.raises(ValueError, match="count=0"):
        side_by_side(problem, 0)
