"""The loop around the meta-epochs: what it validates, chooses, keeps and counts."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import Validation
from l2o_tf.optimizers.base import Step
from l2o_tf.training import curriculum as cl
from problems.base import fold, make_seed
from tests.l2o_tf import tiny, training


@pytest.fixture(scope="module")
def plain():
    """A trainer after its first meta-epochs; tests may advance it."""
    trained = training.trainer()
    return trained, [trained.advance() for _ in range(4)]


class TestMetaEpochs:
    def test_events(self, plain):
        _, events = plain
        assert [event.epoch for event in events] == [0, 1, 2, 3]
        assert [len(event.validations) for event in events] == [0, 1, 0, 1]
        assert {(event.lesson, event.stage, event.horizon) for event in events} == {("train", 0, 8)}
        assert all(event.report.num_windows == 2 and not event.report.diverged for event in events)
        assert all(event.steps_per_second > 0 for event in events)

    def test_counters(self, plain):
        trained, _ = plain
        state = trained.state
        assert (state.inner_steps, state.counts, state.skips) == (8 * state.epoch, [state.epoch], 0)
        assert [entry["epoch"] for entry in state.history][:2] == [2, 4]
        assert state.wall_seconds > 0

    def test_it_ends(self, plain):
        trained, _ = plain
        while not trained.finished:
            trained.advance()
        assert trained.state.epoch == 6
        assert not trained.state.stopped

    def test_the_best_weights_are_kept(self):
        trained = training.trainer()
        training.scripted(trained, [3.0, 5.0, 2.0])
        seen = []
        for _ in range(6):
            with training.eagerly():
                trained.advance()
            seen.append(training.weights(trained))
            if trained.state.epoch in (2, 4):
                training.assert_same(trained.best_weights(), seen[1])
        training.assert_same(trained.best_weights(), seen[5])
        assert training.differ(seen[1], seen[3])

    def test_the_last_meta_epoch_is_validated_wherever_the_period_stands(self):
        trained = training.trainer(num_epochs=3)
        training.scripted(trained, [3.0, 2.0])
        with training.eagerly():
            while not trained.finished:
                trained.advance()
        assert [entry["epoch"] for entry in trained.state.history] == [2, 3]
        training.assert_same(trained.best_weights(), training.weights(trained))

    def test_it_learns(self):
        """The validation cost of an optimizer with a tiny output falls below that of doing nothing."""
        trained = training.trainer(num_epochs=30, validation=Validation(30, 2), meta_optimizer=training.adam(0.03))
        before = trained._validate().cost
        while not trained.finished:
            trained.advance()
        assert trained.state.history[-1]["cost"] < 0.9 * before


class TestValidation:
    def test_cost_by_hand(self, plain):
        """Step after step in plain Python: the loss after the last update, averaged over the runs."""
        trained, problem, finals = plain[0], training.quadratic(), []
        for run in range(2):
            seed = fold(make_seed(3), 1, 0, run)
            params, constants = problem.init(fold(seed, 0))
            state = trained.student.initial_state(params, seed)
            for _ in range(8):
                with tf.GradientTape() as tape:
                    tape.watch(params)
                    loss = problem.loss(params, constants, 0)
                updates, state = trained.student.update(Step(tape.gradient(loss, params), params), state)
                params = {name: params[name] + updates[name] for name in params}
            finals.append(problem.loss(params, constants, 0).numpy())
        validation = trained._validate()
        np.testing.assert_allclose(validation.losses[:, -1], finals, rtol=1e-5)
        np.testing.assert_allclose(validation.cost, np.mean(finals), rtol=1e-5)
        assert validation.losses.shape == (2, 8)

    def test_fixed_runs_are_the_same_every_time(self, plain):
        trained, _ = plain
        first = trained._validate()
        trained.state.epoch += 1
        second = trained._validate()
        trained.state.epoch -= 1
        assert first.cost == second.cost
        np.testing.assert_array_equal(first.losses, second.losses)

    def test_fresh_runs_are_new_every_time(self):
        trained = training.trainer(validation=Validation(2, 2, fresh_seeds=True))
        first, again = trained._validate(), trained._validate()
        trained.state.epoch += 1
        assert first.cost == again.cost != trained._validate().cost

    def test_a_cost_of_ones_own(self):
        class Worst(Validation):
            def cost(self, first, losses, num_problems):
                return float(losses[:, -1].max())

        validation = training.trainer(validation=Worst(2, 2))._validate()
        assert validation.cost == validation.losses[:, -1].max()

    def test_on_problems_of_its_own(self):
        other = tiny.perceptron()
        trained = training.trainer(validation_problems=other)
        with training.eagerly():
            events = [trained.advance() for _ in range(2)]
        assert {event.problem for event in events} == {"quadratic"}
        finals = trained._validate().losses[:, -1]
        assert np.all(finals != training.trainer()._validate().losses[:, -1])

    def test_window_of_the_cost(self):
        wide, narrow = (training.trainer(validation=Validation(2, 2, window))._validate() for window in (3, 1))
        np.testing.assert_array_equal(wide.losses, narrow.losses)
        assert wide.cost == pytest.approx(wide.losses[:, -3:].mean(dtype=np.float64), rel=1e-12)
        assert narrow.cost == pytest.approx(narrow.losses[:, -1].mean(dtype=np.float64), rel=1e-12)
        assert wide.cost != narrow.cost


class TestLessons:
    def lessons(self, count, stage=0, **options):
        """What would be taught in the first meta-epochs."""
        trained = training.trainer(**options)
        trained.state.curriculum = cl.CurriculumState()._replace(stage=stage)
        found = []
        for epoch in range(count):
            trained.state.epoch = epoch
            index, lesson = trained._plan.choose(trained.state)
            trained.state.counts[index] += 1
            found.append(lesson)
        return found

    def test_without_imitation(self):
        assert set(self.lessons(50)) == {"train"}

    def test_ratio(self):
        lessons = self.lessons(2000, lessons=training.imitation("adam", ratio=0.3))
        assert lessons.count("train") / 2000 == pytest.approx(0.7, abs=0.03)

    def test_ratio_of_each_stage(self):
        options = training.staged(ratio=(0.0, 1.0, 0.5))
        assert set(self.lessons(50, stage=0, **options)) == {"train"}
        assert "train" not in self.lessons(50, stage=1, **options)
        assert self.lessons(400, stage=2, **options).count("train") == pytest.approx(200, abs=40)

    def test_random_teachers(self):
        options = {"lessons": training.imitation("adam", "sgd", "adagrad", ratio=1.0)}
        lessons = self.lessons(900, **options)
        counts = collections.Counter(lessons)
        assert counts.keys() == {"imitation/adam", "imitation/sgd", "imitation/adagrad"}
        assert all(count == pytest.approx(300, abs=60) for count in counts.values())
        assert lessons == self.lessons(900, **options)
        assert lessons != self.lessons(900, **options, seed=4)

    def test_teachers_in_a_cycle(self):
        """Whose turn it is counts imitations, not meta-epochs."""
        options = {"lessons": training.imitation("adam", "sgd", "adagrad", ratio=0.5, choice="cycle")}
        lessons = self.lessons(100, **options)
        imitations = [lesson for lesson in lessons if lesson != "train"]
        expected = ["imitation/adam", "imitation/sgd", "imitation/adagrad"] * 34
        assert imitations == expected[: len(imitations)]
        assert lessons == self.lessons(100, **options)

    def test_several_techniques_share_the_meta_epochs(self):
        """The first one gets what the others leave."""
        second = training.imitation("adam", ratio=0.2)
        lessons = self.lessons(2000, lessons=(*second, *training.imitation("sgd", ratio=0.5)[1:]))
        shares = {name: lessons.count(name) / 2000 for name in set(lessons)}
        assert shares == pytest.approx({"train": 0.3, "imitation/adam": 0.2, "imitation/sgd": 0.5}, abs=0.03)

    def test_a_lesson_has_slots_of_its_own(self):
        trained = training.trainer(lessons=training.imitation("sgd", ratio=1.0))
        trained.advance()
        optimizers = trained._plan.meta_optimizers
        assert (optimizers["train"].iterations, optimizers["imitation/sgd"].iterations) == (0, 2)
