"""Stages of the curriculum and diverged meta-epochs: what the trainer restores, and when."""

import math

import numpy as np
import pytest

import l2o_tf as l2o
from tests.l2o_tf import training


def staged_trainer(**options):
    curriculum = l2o.Curriculum((4, 8, 12), min_periods=1, **options)
    return training.trainer(curriculum=curriculum, validation=l2o.Validation(1, 2))


@pytest.fixture(scope="module")
def staged():
    """Two stages left, one stopped in; `(trainer, weights after each meta-epoch, events, validations)`."""
    trained = training.trainer(**training.staged(period=1, ratio=(0.5, 0.0, 1.0)), num_epochs=50)
    # Stage 0: improve, fail. Baseline, improve, fail. Baseline, fail.
    stages = training.scripted(trained, [5.0, 6.0, 9.0, 8.0, 8.5, 7.0, 7.5])
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
        training.assert_same(seen[1], seen[0])
        training.assert_same(seen[3], seen[2])
        assert training.differ(seen[1], seen[2])
        training.assert_same(trained.best_weights(), seen[2])

    def test_messages(self, staged):
        trained, _, events, _ = staged
        messages = [message for event in events for message in event.messages]
        assert messages[0].startswith("stage 1: training on 8 steps; to beat: 9 after 12 steps")
        assert messages[1].startswith("stage 2: training on 12 steps; to beat: 7 after 16 steps")
        assert messages[2] == trained.state.stopped
        assert "did not beat its baseline 7" in trained.state.stopped

    def test_history(self, staged):
        assert [(e["epoch"], e["stage"], e["horizon"]) for e in staged[0].state.history] == [
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
        counts = {
            name: function.experimental_get_tracing_count() for name, function in trained._plan.meta_epochs(0).items()
        }
        assert counts == {name: int(name in used) for name in counts}
        rollouts = trained._validator._compiled(0)
        assert [f.experimental_get_tracing_count() for f in (rollouts.start, rollouts.advance)] == [1, 1]

    def test_slots_at_a_new_stage(self):
        """Kept, as in the original program, unless asked otherwise."""
        for reset in (False, True):
            trained = staged_trainer(reset_slots=reset)
            training.scripted(trained, [5.0, 6.0, 9.0])
            with training.eagerly():
                trained.advance(), trained.advance()
            assert trained.state.curriculum.stage == 1
            optimizer = trained._plan.meta_optimizers["train"]
            moments = [v.numpy() for v in optimizer.variables if "momentum" in v.path or "velocity" in v.path]
            assert optimizer.iterations == (0 if reset else 2)
            assert [bool(np.any(moment)) for moment in moments] == [not reset] * 8

    @pytest.mark.parametrize(("patience", "periods"), [(1, 2), (3, 4)])
    def test_patience(self, patience, periods):
        trained = staged_trainer(patience=patience)
        training.scripted(trained, [5.0, 6.0, 6.0, 6.0, 9.0])
        with training.eagerly():
            while trained.state.curriculum.stage == 0:
                trained.advance()
        assert trained.state.epoch == periods


@pytest.fixture(scope="module")
def always():
    """Every run is NaN; `(trainer, weights at the start, weights that were put in, events)`."""
    trained = training.trainer(training.sometimes_nan(1.0), max_skips=3, num_epochs=8)
    first = training.weights(trained)
    for variable in trained.student.trainable_variables:
        variable.assign(variable.value + 1.0)
    trained._plan.meta_optimizers["train"].iterations.assign(7)
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
        assert trained.state.skips == 8
        for epoch, event in enumerate(events):
            assert f"meta-epoch {epoch} (train) diverged in window 1; skipped" in event.messages

    def test_the_last_good_weights_return(self, always):
        trained, first, changed, events, seen = always
        training.assert_same(seen[1], changed)
        training.assert_same(seen[2], first)
        assert "3 diverged in a row; back to the last good weights, slots cleared" in events[2].messages
        assert [epoch for epoch, event in enumerate(events) if len(event.messages) == 2] == [2, 5]
        assert trained._plan.meta_optimizers["train"].iterations == 0

    def test_a_cost_of_nan_is_never_the_best(self, always):
        trained, first, _, events, _ = always
        assert all(math.isnan(validation.cost) for event in events for validation in event.validations)
        assert trained.state.curriculum.best == math.inf
        training.assert_same(trained.best_weights(), first)

    def test_now_and_then(self):
        """A good meta-epoch ends the row; what is skipped changes nothing, what is not does."""
        trained = training.trainer(
            training.sometimes_nan(0.4), max_skips=3, num_epochs=20, validation=l2o.Validation(20, 2)
        )
        before, row, outcomes = training.weights(trained), 0, []
        while not trained.finished:
            event, after = trained.advance(), training.weights(trained)
            outcomes.append(event.report.diverged)
            row = row + 1 if event.report.diverged else 0
            assert training.differ(before, after) is not event.report.diverged or row == 3
            row %= 3
            assert trained.state.skips_in_a_row == row
            before = after
        assert trained.state.skips == sum(outcomes)
        assert 3 < sum(outcomes) < 17
        assert all(np.isfinite(value).all() for value in before.values())

    def test_weights_that_are_not_finite_are_neither_kept_nor_gone_on_with(self):
        """Though every loss is finite, as where a problem forgives them."""
        trained = training.trainer(num_epochs=4, curriculum=4)  # one window
        with training.eagerly():
            trained.advance()
            trained.advance()
            best = trained.best_weights()
            first, optimizer = trained._variables[0], trained._plan.meta_optimizers["train"]
            optimizer.apply = lambda *arguments: first.assign(np.full(first.shape, np.inf))
            training.scripted(trained, [0.0])
            events = [trained.advance() for _ in range(2)]
        assert not any(event.report.diverged for event in events) and trained.state.skips == 2
        assert events[0].messages[0] == "meta-epoch 2 (train) left weights that are not finite"
        assert "back to the last good weights" in events[0].messages[1]
        training.assert_same(training.weights(trained), best)
        training.assert_same(trained.best_weights(), best)
