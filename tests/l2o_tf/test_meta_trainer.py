"""The loop around the meta-epochs: what it validates, chooses, skips, keeps and restores."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.meta_trainer import Validation
from l2o_tf.techniques import curriculum as cl
from problems.base import fold, make_seed
from tests.l2o_tf import training


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def differ(ours, theirs) -> bool:
    return any(np.any(value != theirs[name]) for name, value in ours.items())


def scripted(trained, costs):
    """Lets the validations of a trainer cost what the list says; they are still run."""
    validate, costs, stages = trained._validate, iter(costs), []

    def told() -> Validation:
        validation = validate()
        stages.append((validation.stage, validation.horizon_train, validation.losses.shape))
        return validation._replace(cost=next(costs))

    trained._validate = told
    return stages


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
        standing = trained.standing
        assert (standing.inner_steps, standing.imitations, standing.skips) == (8 * standing.epoch, 0, 0)
        assert [entry["epoch"] for entry in standing.history][:2] == [2, 4]
        assert standing.wall_seconds > 0

    def test_it_ends(self, plain):
        trained, _ = plain
        while not trained.finished:
            trained.advance()
        assert trained.standing.epoch == 6
        assert not trained.standing.stopped

    def test_the_best_weights_are_kept(self):
        trained = training.trainer()
        scripted(trained, [3.0, 5.0, 2.0])
        seen = []
        for _ in range(6):
            with training.eagerly():
                trained.advance()
            seen.append(training.weights(trained))
            if trained.standing.epoch in (2, 4):
                assert_same(trained.best_weights(), seen[1])
        assert_same(trained.best_weights(), seen[5])
        assert differ(seen[1], seen[3])

    def test_the_last_meta_epoch_is_validated_wherever_the_period_stands(self):
        trained = training.trainer(num_epochs=3)
        scripted(trained, [3.0, 2.0])
        with training.eagerly():
            while not trained.finished:
                trained.advance()
        assert [entry["epoch"] for entry in trained.standing.history] == [2, 3]
        assert_same(trained.best_weights(), training.weights(trained))

    def test_it_learns(self):
        """The validation cost of an optimizer with a tiny output falls below that of doing nothing."""
        trained = training.trainer(num_epochs=30, evaluation_period=30, learning_rate=0.03)
        before = trained._validate().cost
        while not trained.finished:
            trained.advance()
        assert trained.standing.history[-1]["cost"] < 0.9 * before

    def test_histograms(self, plain):
        trained, _ = plain
        found = trained.histograms()
        assert found["updates/log10_size"].shape == (4, 4)
        assert found["gates/lstm_1/forget"].shape == (4, 2)
        assert_same({name: found[f"weights/{name}"] for name in training.weights(trained)}, training.weights(trained))


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
                updates, state = trained.student.update(tape.gradient(loss, params), state, params)
                params = {name: params[name] + updates[name] for name in params}
            finals.append(problem.loss(params, constants, 0).numpy())
        validation = trained._validate()
        np.testing.assert_allclose(validation.losses[:, -1], finals, rtol=1e-5)
        np.testing.assert_allclose(validation.cost, np.mean(finals), rtol=1e-5)
        assert validation.losses.shape == (2, 8)

    def test_fixed_runs_are_the_same_every_time(self, plain):
        trained, _ = plain
        first = trained._validate()
        trained.standing.epoch += 1
        second = trained._validate()
        trained.standing.epoch -= 1
        assert first.cost == second.cost
        np.testing.assert_array_equal(first.losses, second.losses)

    def test_fresh_runs_are_new_every_time(self):
        trained = training.trainer(validation_seeds="fresh")
        first, again = trained._validate(), trained._validate()
        trained.standing.epoch += 1
        assert first.cost == again.cost != trained._validate().cost

    def test_window_of_the_cost(self):
        wide, narrow = training.trainer(validation_window=3)._validate(), training.trainer()._validate()
        np.testing.assert_array_equal(wide.losses, narrow.losses)
        assert wide.cost == pytest.approx(wide.losses[:, -3:].mean(dtype=np.float64), rel=1e-12)
        assert narrow.cost == pytest.approx(narrow.losses[:, -1].mean(dtype=np.float64), rel=1e-12)
        assert wide.cost != narrow.cost


class TestLessons:
    def lessons(self, count, stage=0, **options):
        """What would be taught in the first meta-epochs."""
        trained = training.trainer(**options)
        trained.standing.curriculum = cl.initial_state()._replace(stage=stage)
        found = []
        for epoch in range(count):
            trained.standing.epoch = epoch
            found.append(trained._choose_lesson())
            trained.standing.imitations += found[-1] != "train"
        return found

    def test_without_imitation(self):
        assert set(self.lessons(50)) == {"train"}

    def test_ratio(self):
        lessons = self.lessons(2000, imitation=True, imitation_ratio=0.3)
        assert lessons.count("train") / 2000 == pytest.approx(0.7, abs=0.03)

    def test_ratio_of_each_stage(self):
        options = {**training.TECHNIQUES, "imitation_ratios": "0,1,0.5"}
        assert set(self.lessons(50, stage=0, **options)) == {"train"}
        assert "train" not in self.lessons(50, stage=1, **options)
        assert self.lessons(400, stage=2, **options).count("train") == pytest.approx(200, abs=40)

    def test_random_teachers(self):
        options = {"imitation": True, "imitation_ratio": 1.0, "teachers": "adam,sgd,adagrad"}
        lessons = self.lessons(900, **options)
        counts = collections.Counter(lessons)
        assert counts.keys() == {"imitation/adam", "imitation/sgd", "imitation/adagrad"}
        assert all(count == pytest.approx(300, abs=60) for count in counts.values())
        assert lessons == self.lessons(900, **options)
        assert lessons != self.lessons(900, **options, seed=4)

    def test_teachers_in_a_cycle(self):
        """Whose turn it is counts imitations, not meta-epochs."""
        options = {"imitation": True, "imitation_ratio": 0.5, "teachers": "adam,sgd,adagrad"}
        lessons = self.lessons(100, **options, teacher_choice="cycle")
        imitations = [lesson for lesson in lessons if lesson != "train"]
        expected = ["imitation/adam", "imitation/sgd", "imitation/adagrad"] * 34
        assert imitations == expected[: len(imitations)]
        assert lessons == self.lessons(100, **options, teacher_choice="cycle")

    def test_a_lesson_has_slots_of_its_own(self):
        trained = training.trainer(imitation=True, imitation_ratio=1.0, teachers="sgd")
        trained.advance()
        optimizers = trained._meta_optimizers
        assert (optimizers["train"].iterations, optimizers["imitation/sgd"].iterations) == (0, 2)


@pytest.fixture(scope="module")
def staged():
    """Two stages left, one stopped in; `(trainer, weights after each meta-epoch, events, validations)`."""
    trained = training.trainer(
        **{**training.TECHNIQUES, "imitation_ratios": "0.5,0,1"}, num_epochs=50, evaluation_period=1
    )
    # Stage 0: improve, fail. Baseline, improve, fail. Baseline, fail.
    stages = scripted(trained, [5.0, 6.0, 9.0, 8.0, 8.5, 7.0, 7.5])
    events, seen = [], []
    while not trained.finished:
        events.append(trained.advance())
        seen.append(training.weights(trained))
    return trained, seen, events, stages


class TestCurriculum:
    def test_horizons(self, staged):
        _, _, events, stages = staged
        assert [(event.stage, event.horizon) for event in events] == [(0, 4), (0, 4), (1, 8), (1, 8), (2, 12)]
        assert [event.report.num_windows for event in events] == [1, 1, 2, 2, 3]
        assert stages == [
            *[(0, 4, (2, 8))] * 2,
            *[(1, 8, (2, 12))] * 3,
            *[(2, 12, (2, 16))] * 2,
        ]

    def test_a_stage_begins_with_the_best_weights(self, staged):
        trained, seen, _, _ = staged
        assert_same(seen[1], seen[0])
        assert_same(seen[3], seen[2])
        assert differ(seen[1], seen[2])
        assert_same(trained.best_weights(), seen[2])

    def test_messages(self, staged):
        trained, _, events, _ = staged
        messages = [message for event in events for message in event.messages]
        assert messages[0].startswith("stage 1: training on 8 steps; to beat: 9 after 12 steps")
        assert messages[1].startswith("stage 2: training on 12 steps; to beat: 7 after 16 steps")
        assert messages[2] == trained.standing.stopped
        assert "did not beat its baseline 7" in trained.standing.stopped

    def test_history(self, staged):
        assert [(e["epoch"], e["stage"], e["horizon"]) for e in staged[0].standing.history] == [
            *[(1, 0, 8), (2, 0, 8), (2, 1, 12), (3, 1, 12), (4, 1, 12), (4, 2, 16), (5, 2, 16)]
        ]

    def test_ratios(self, staged):
        lessons = [event.lesson for event in staged[2]]
        assert set(lessons[2:4]) == {"train"}
        assert lessons[4].startswith("imitation/")

    def test_nothing_is_traced_again(self, staged):
        trained, _, events, _ = staged
        used = {event.lesson for event in events}
        assert "train" in used
        counts = {name: function.experimental_get_tracing_count() for name, function in trained._meta_epochs.items()}
        assert counts == {name: int(name in used) for name in counts}
        rollouts = trained._rollouts
        assert [f.experimental_get_tracing_count() for f in (rollouts.start, rollouts.advance)] == [1, 1]

    def test_slots_at_a_new_stage(self):
        """Kept, as in the original program, unless asked otherwise."""
        for reset in (False, True):
            trained = training.trainer(
                curriculum=True, curriculum_steps="4,8,12", min_periods=1, evaluation_period=1, reset_slots=reset
            )
            scripted(trained, [5.0, 6.0, 9.0])
            with training.eagerly():
                trained.advance(), trained.advance()
            assert trained.standing.curriculum.stage == 1
            optimizer = trained._meta_optimizers["train"]
            moments = [v.numpy() for v in optimizer.variables if "momentum" in v.path or "velocity" in v.path]
            assert optimizer.iterations == (0 if reset else 2)
            assert [bool(np.any(moment)) for moment in moments] == [not reset] * 8

    @pytest.mark.parametrize(("patience", "periods"), [(1, 2), (3, 4)])
    def test_patience(self, patience, periods):
        trained = training.trainer(
            curriculum=True, curriculum_steps="4,8,12", min_periods=1, evaluation_period=1, patience=patience
        )
        scripted(trained, [5.0, 6.0, 6.0, 6.0, 9.0])
        with training.eagerly():
            while trained.standing.curriculum.stage == 0:
                trained.advance()
        assert trained.standing.epoch == periods


@pytest.fixture(scope="module")
def always():
    """Every run is NaN; `(trainer, weights at the start, weights that were put in, events)`."""
    trained = training.trainer(training.sometimes_nan(1.0), max_skips=3, num_epochs=8)
    first = training.weights(trained)
    for variable in trained.student.trainable_variables:
        variable.assign(variable.value + 1.0)
    trained._meta_optimizers["train"].iterations.assign(7)
    changed = training.weights(trained)
    events, seen = [], []
    while not trained.finished:
        events.append(trained.advance())
        seen.append(training.weights(trained))
    return trained, first, changed, events, seen


class TestDivergence:
    def test_skipped_counted_reported(self, always):
        trained, _, _, events, _ = always
        assert all(event.report.diverged and event.report.num_windows == 1 for event in events)
        assert trained.standing.skips == 8
        for epoch, event in enumerate(events):
            assert f"meta-epoch {epoch} (train) diverged in window 1; skipped" in event.messages

    def test_the_last_good_weights_return(self, always):
        trained, first, changed, events, seen = always
        assert_same(seen[1], changed)
        assert_same(seen[2], first)
        assert "3 diverged in a row; back to the last good weights, slots cleared" in events[2].messages
        assert [epoch for epoch, event in enumerate(events) if len(event.messages) == 2] == [2, 5]
        assert trained._meta_optimizers["train"].iterations == 0

    def test_a_cost_of_nan_is_never_the_best(self, always):
        trained, first, _, events, _ = always
        assert all(math.isnan(validation.cost) for event in events for validation in event.validations)
        assert trained.standing.curriculum.best == math.inf
        assert_same(trained.best_weights(), first)

    def test_now_and_then(self):
        """A good meta-epoch ends the row; what is skipped changes nothing, what is not does."""
        trained = training.trainer(training.sometimes_nan(0.4), max_skips=3, num_epochs=20, evaluation_period=20)
        before, row, outcomes = training.weights(trained), 0, []
        while not trained.finished:
            event, after = trained.advance(), training.weights(trained)
            outcomes.append(event.report.diverged)
            row = row + 1 if event.report.diverged else 0
            assert differ(before, after) is not event.report.diverged or row == 3
            row %= 3
            assert trained.standing.skips_in_a_row == row
            before = after
        assert trained.standing.skips == sum(outcomes)
        assert 3 < sum(outcomes) < 17
        assert all(np.isfinite(value).all() for value in before.values())


OPTIONS = {
    "seed": {"seed": 4},
    "learning_rate": {"learning_rate": 0.02},
    "unroll_length": {"unroll_length": 2},
    "num_steps": {"num_steps": 4},
    "clip_norm": {"clip_norm": 1e-4},
    "second_derivatives": {"second_derivatives": True},
    "random_scaling": {"random_scaling": True},
    "self_improving": {"self_improving": True},
    "preprocess": {"preprocess": "Clamp"},
    "output_scale": {"output_scale": 0.1},
    "teacher_steps": {"teacher_steps": 2},
    "teacher_learning_rate": {"teacher_learning_rate": 0.1},
    "imitation_distance": {"imitation_distance": "half_mean"},
}


def one_meta_epoch(**options):
    """`(report, weights)`, of an imitation where the options are about one."""
    if any(name.startswith(("teacher", "imitation")) for name in options):
        options = {"imitation": True, "imitation_ratio": 1.0, "teachers": "sgd", **options}
    with training.eagerly():
        trained = training.trainer(**options)
        return trained.advance().report, training.weights(trained)


@pytest.fixture(scope="module")
def ordinary():
    return one_meta_epoch()


@pytest.fixture(scope="module")
def imitated():
    return one_meta_epoch(imitation=True)


class TestOptions:
    @pytest.mark.parametrize("name", OPTIONS)
    def test_has_an_effect(self, name, ordinary, imitated):
        report, found = one_meta_epoch(**OPTIONS[name])
        expected_report, expected = imitated if name.startswith(("teacher", "imitation")) else ordinary
        assert not report.diverged
        assert any(found[key].shape != value.shape or np.any(found[key] != value) for key, value in expected.items())
        if name == "clip_norm":
            assert report.gradient_norm == pytest.approx(expected_report.gradient_norm, rel=0.2)
            assert report.gradient_norm > 100 * OPTIONS[name]["clip_norm"]

    def test_objective(self):
        """One window of the same run, judged in three ways."""
        total, mean, final = (one_meta_epoch(num_steps=4, objective=name)[0] for name in ("sum", "mean", "final"))
        assert total.final_loss == mean.final_loss == final.final_loss == final.meta_loss
        assert total.meta_loss == pytest.approx(5 * mean.meta_loss, rel=1e-6)
        assert mean.meta_loss != final.meta_loss

    def test_distance(self):
        """Eq. (1) sums squares over T steps and N = 4 coordinates, the original program half of their mean over N."""
        options = {"num_steps": 4, "imitation": True, "imitation_ratio": 1.0, "teachers": "sgd"}
        total, half = (one_meta_epoch(**options, imitation_distance=name)[0] for name in ("sum", "half_mean"))
        assert total.meta_loss == pytest.approx(2 * 4 * half.meta_loss, rel=1e-5)

    def test_self_improving_fades_out(self):
        """After its meta-epochs only the student acts: the same meta-epoch as without."""
        late = [training.trainer(**options) for options in ({}, {"self_improving": True, "self_improving_epochs": 3})]
        for trained in late:
            trained.standing.epoch = 3
        with training.eagerly():
            plain, mixed = (trained.advance().report for trained in late)
        assert mixed.meta_loss == pytest.approx(plain.meta_loss, rel=1e-5)
        assert mixed.final_loss == pytest.approx(plain.final_loss, rel=1e-5)


class TestStudents:
    def test_parameters_without_an_entry_are_refused_before_anything_is_compiled(self):
        with pytest.raises(ValueError, match="'x', which matches none of"):
            training.trainer(net_assignments="w*=L2O-DM")

    @pytest.mark.parametrize("options", [{"optimizer": "adam"}, {"net_assignments": "*=adam"}])
    def test_nothing_to_train(self, options):
        with pytest.raises(ValueError, match=f"--{next(iter(options))}=.*, where nothing can be trained"):
            training.trainer(**options)

    @pytest.mark.parametrize("name", ["L2O", "assigned", "Adamm"])
    def test_unknown(self, name):
        with pytest.raises(ValueError, match=f"Received optimizer '{name}', expected one of"):
            training.trainer(optimizer=name)

    @pytest.mark.parametrize("name", ["L2O-DM", "assigned", "adma"])
    def test_unknown_teacher(self, name):
        with pytest.raises(ValueError, match=f"Received teacher '{name}', expected one of"):
            training.trainer(imitation=True, teachers=name)

    def test_assigned(self):
        trained = training.trainer(net_assignments="x=L2O-DM")
        assert training.weights(trained).keys() == {f"0/{name}" for name in training.weights(training.trainer())}
