"""`MetaTrainer.run`: a whole meta-training in a folder, from Python."""

import os
import signal
import threading

import numpy as np
import pytest

import l2o_tf as l2o
from l2o_tf import saving
from l2o_tf.recording.records import RECORDS, read_records, without_wall_times
from l2o_tf.training import arguments
from l2o_tf.training.curriculum import CurriculumState, with_baseline
from tests.l2o_tf import training

EPOCHS = 7


def trainer(**arguments):
    """With a curriculum, imitation of two teachers in turn, sampled meta-gradients and a running average."""
    also = {"average": l2o.RunningAverage(0.9), "meta_gradient": l2o.Sampled(0.5, whole=1)}
    return training.trainer(**{**training.staged(), **also, **arguments})


def interrupt(trained, stop_at):
    """Lets a signal come in a meta-epoch."""
    advance = trained.advance

    def interrupted(**options):
        if trained.state.epoch == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(**options)

    trained.advance = interrupted


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: `(trainer, result)`."""
    trained = trainer()
    with training.eagerly():
        return trained, trained.run(tmp_path_factory.mktemp("whole") / "run", epochs=EPOCHS)


def files(folder):
    return {path.name.partition(".tfevents")[0] for path in folder.iterdir()}


def assert_same_run(ours, theirs):
    """The same weights to the last bit, and the same records but for the clock."""
    training.assert_same(saving.load_weights(ours)[1], saving.load_weights(theirs)[1])
    found = [without_wall_times(read_records(folder / RECORDS)) for folder in (ours, theirs)]
    assert found[0] == found[1]


class TestResult:
    def test_the_folder_has_everything(self, whole):
        assert files(whole[1].folder) == {
            *("checkpoints", "config.json", "optimizer.json", "records.jsonl", "training.png", "weights.npz"),
            "events.out",
        }

    def test_the_student_has_the_best_weights(self, whole):
        trained, result = whole
        assert result.student is trained.student
        training.assert_same(training.weights(trained), trained.best_weights())
        training.assert_same(training.weights(trained), saving.load_weights(result.folder)[1])
        assert training.differ(training.weights(trained), training.weights(trainer()))

    def test_what_it_says(self, whole):
        result = whole[1]
        assert (result.epochs, result.diverged, result.finished, result.signal) == (EPOCHS, 0, True, 0)
        assert [entry["epoch"] for entry in result.history][:2] == [2, 4]
        assert str(result) == (
            f"{result.outcome} 7 meta-epochs, 0 of them diverged.\nWeights: {result.folder / 'weights.npz'}"
        )

    def test_once_more_changes_nothing(self, whole):
        trained, result = whole
        before = (result.folder / "weights.npz").read_bytes()
        again = trained.run(result.folder, epochs=EPOCHS)
        assert again == result
        assert (result.folder / "weights.npz").read_bytes() == before


class TestExactResume:
    def test_after_a_signal(self, whole, tmp_path):
        """It finishes the meta-epoch, saves and returns; another trainer then leads to the same bits."""
        first = trainer()
        interrupt(first, stop_at=3)
        with training.eagerly():
            stopped = first.run(tmp_path, epochs=EPOCHS)
            assert (stopped.epochs, stopped.finished, stopped.signal) == (4, False, signal.SIGINT)
            assert stopped.outcome == "Stopped." and str(stopped).endswith("Start it again to continue.")
            result = trainer().run(tmp_path, epochs=EPOCHS)
        assert (result.epochs, result.finished) == (EPOCHS, True)
        assert_same_run(tmp_path, whole[1].folder)

    def test_by_the_same_trainer(self, whole, tmp_path):
        """Its student has the best weights in between; training goes on with the others."""
        trained = trainer()
        with training.eagerly():
            trained.run(tmp_path, epochs=4)
            trained.run(tmp_path, epochs=EPOCHS)
        assert_same_run(tmp_path, whole[1].folder)

    def test_meta_epochs_by_hand_after_a_run(self, whole, tmp_path):
        """`advance` goes on where `run` stopped, too."""
        ran, advanced = trainer(), trainer(num_epochs=EPOCHS)
        with training.eagerly():
            ran.run(tmp_path, epochs=4)
            ran.advance()
            for _ in range(5):
                advanced.advance()
        training.assert_same(training.weights(ran), training.weights(advanced))

    def test_an_early_end_is_said(self, tmp_path, caplog):
        with training.eagerly():
            trainer().run(tmp_path, epochs=3)
            assert not caplog.text
            trainer().run(tmp_path, epochs=4)
        assert "with a validation in the middle of a period" in caplog.text


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"seed": 4}, "seed: 3 there, 4 now"),
            ({"meta_optimizer": training.adam(0.02)}, "meta_optimizer.learning_rate: .* there, .* now"),
            ({"validation": l2o.Validation(2, 2, window=3)}, "validation.window: 1 there, 3 now"),
            ({"lessons": training.imitation("adam", ratio=0.4)}, "lessons: .* there, .* now"),
            ({"problem": training.sometimes_nan(0.0)._replace(name="other")}, "problems: .*quadratic.*other"),
            (
                {"problem": l2o.make_problem("quadratic", batch_size=3, num_dims=2, stddev=1.0)},
                "problems: .*first loss .* there, .*first loss .* now",
            ),
            ({"learner": training.student(layers=[3])}, r"student.layers: \[2\] there, \[3\] now"),
        ],
    )
    def test_another_run(self, whole, arguments, words):
        before = sorted(whole[1].folder.rglob("*"))
        with pytest.raises(ValueError, match=f"a run of another configuration .*{words}"):
            trainer(**arguments).run(whole[1].folder, epochs=EPOCHS)
        assert sorted(whole[1].folder.rglob("*")) == before

    def test_not_to_be_resumed(self, whole):
        with pytest.raises(ValueError, match="holds a run, and not to resume it"):
            trainer().run(whole[1].folder, resume=False)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"epochs": 0}, "epochs=0, expected a positive integer"),
            ({"checkpoint_seconds": -1.0}, "checkpoint_seconds=-1.0, expected a number from 0"),
            ({"checkpoint_seconds": None}, "checkpoint_seconds=None, expected a number from 0"),
            ({"resume": "no"}, "resume='no', expected True or False"),
            ({"description": "mine"}, "description='mine', expected a Description or None"),
            ({"checkpoint_seconds": float("nan")}, "checkpoint_seconds=nan, expected a number from 0"),
        ],
    )
    def test_arguments(self, tmp_path, options, words):
        with pytest.raises(ValueError, match=words):
            trainer().run(tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()

    def test_what_was_done_without_the_folder_is_not_lost_without_a_word(self, whole, caplog):
        trained = trainer()
        trained.advance()
        trained.run(whole[1].folder, epochs=EPOCHS)
        assert f"has done 1 meta-epochs elsewhere. Its folder {whole[1].folder} holds a run of {EPOCHS}" in caplog.text

    def test_to_advance_when_the_curriculum_has_ended(self):
        trained = trainer()
        trained.state.stopped = "Why."
        with pytest.raises(ValueError, match="meta-training has ended. Why."):
            trained.advance()


def test_a_description_has_numbers_of_numpy_and_no_numbers_of_keras():
    validation = arguments.described(l2o.Validation(period=np.int64(2), num_runs=2))
    assert validation == arguments.described(l2o.Validation(period=2, num_runs=2))
    assert arguments.described(training.student(layers=[np.int64(2)]))["layers"] == [2]
    first, second = (training.quadratic()._replace(name=name) for name in ("sequential", "sequential_1"))
    assert arguments.described(first) == arguments.described(second)


def test_in_another_thread(tmp_path):
    """As in some notebooks and servers: Python has signals in the main thread only."""
    results = []
    thread = threading.Thread(target=lambda: results.append(training.trainer().run(tmp_path, epochs=1)))
    with training.eagerly():
        thread.start()
        thread.join()
    assert results[0].finished


def test_how_it_ended():
    """Weights that no validation has seen are not called trained."""
    begun, validated = with_baseline(0), CurriculumState()._replace(best=1.0)

    def outcome(finished=True, beats_its_start=False, **state):
        trained = training.trainer(beats_its_start=beats_its_start)
        for name, value in {"curriculum": CurriculumState(), **state}.items():
            setattr(trained.state, name, value)
        return trained._outcome(finished)

    infinite = [{"cost": float("inf")}]
    assert "No validation had a finite cost: the weights are those it began with" in outcome(history=infinite)
    assert "No validation had a finite cost" in outcome(finished=False, history=infinite)
    assert "Stopped before the first validation: the weights" in outcome(finished=False)
    assert outcome(finished=False, curriculum=validated) == "Stopped."
    assert outcome(curriculum=validated._replace(improved=True)) == "All meta-epochs are done."
    assert "No validation beat" in outcome(beats_its_start=True, curriculum=begun._replace(best=1.0))
    further = [{"stage": 0, "cost": cost} for cost in (0.4, 0.3, 0.35)]  # the first is that of the initial weights
    better = begun._replace(best=0.3, improved=True)
    told = outcome(beats_its_start=True, curriculum=better, history=further)
    assert told == "Best validation: 0.3. The weights that this stage began with had 0.4."
    assert outcome(stopped="Why.", curriculum=validated) == "Why."
