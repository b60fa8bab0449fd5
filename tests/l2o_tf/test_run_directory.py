"""The folder of a run: whose it is, what it goes on from, what it holds in the end."""

import json

import numpy as np
import pytest
import tensorflow as tf

import l2o_tf as l2o
from l2o_tf import saving
from l2o_tf.common import folders
from l2o_tf.recording.records import read_records
from l2o_tf.training import curriculum as cl
from l2o_tf.training.run_folder import Checkpoints, Description, open_run
from l2o_tf.training.state import TrainingState
from problems.base import DataInfo
from tests.l2o_tf import training

DATA = DataInfo("mnist", "train[5000:]", 55_000, "0123456789abcdef")


CONFIG = {"seed": 3, "rate": 0.01, "names": ["a", "b"], "curriculum": {"patience": 1}, "directory": "here"}
DEFAULTS = {"seed": 0, "clipping": 0.0, "gone": False}


def describe(**changed):
    return Description({**CONFIG, **changed}, defaults=DEFAULTS, irrelevant=["directory"])


def opened(folder, data=DATA, resume=True, **changed):
    """Opens the folder as a process does, and leaves it again."""
    with open_run(folder, describe(**changed), data, resume=resume) as found:
        return found


class TestOpenRun:
    @pytest.fixture
    def folder(self, tmp_path):
        return opened(tmp_path / "a" / "run")

    def test_a_new_run_says_what_it_is(self, folder):
        stored = json.loads((folder / "config.json").read_text())
        assert stored["config"] == CONFIG
        assert DataInfo(**stored["data"]) == DATA

    def test_the_same_run_goes_on(self, folder):
        before = (folder / "config.json").read_bytes()
        assert opened(folder) == folder
        assert (folder / "config.json").read_bytes() == before

    def test_one_process_at_a_time_and_the_lock_comes_first(self, tmp_path):
        """Of two that begin one new folder at once, the second writes nothing."""
        folder = folders.make_folder(tmp_path / "new")
        with folders.alone_in(folder), pytest.raises(ValueError, match="another process is at work"):
            opened(folder)
        assert not list(folder.iterdir())

    @pytest.mark.parametrize("left", ["checkpoints", "weights.npz", "optimizer.json", "records.jsonl"])
    def test_what_is_left_of_an_unknown_run(self, tmp_path, left):
        (tmp_path / left).touch()
        with pytest.raises(ValueError, match=f"holds {left} but no config.json"):
            opened(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [left]

    def test_options_that_change_nothing_done(self, folder):
        opened(folder, directory="elsewhere")

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"seed": 4}, "seed: 3 there, 4 now"),
            ({"names": ["a"]}, r"names: \['a', 'b'\] there, \['a'\] now"),
            ({"curriculum": {"patience": 2}}, "curriculum.patience: 1 there, 2 now"),
            ({"curriculum": 100}, "curriculum: None there, 100 now; curriculum.patience: 1 there, None now"),
            ({"clipping": 1.0}, "clipping: 0.0 there, 1.0 now"),
        ],
    )
    def test_another_configuration(self, folder, changed, words):
        with pytest.raises(ValueError, match=rf"another configuration \({words}\)") as caught:
            opened(folder, **changed)
        assert "another folder" in str(caught.value)

    def test_other_data(self, folder):
        embedded = DATA._replace(name="digits-28x28", fingerprint="f" * 16)
        with pytest.raises(ValueError, match=r"data: mnist/.*0123456789abcdef\) there, digits-28x28/.*ffff\) now"):
            opened(folder, embedded)
        with pytest.raises(ValueError, match="there, none now"):
            opened(folder, None)

    @pytest.mark.parametrize("other", [{"clipping": 0.0}, {"gone": False}])
    def test_options_of_an_older_version(self, folder, other):
        """What only one of two versions has is no difference where it has its default."""
        path = folder / "config.json"
        stored = json.loads(path.read_text())
        path.write_text(json.dumps({**stored, "config": {**CONFIG, **other}}))
        opened(folder)
        path.write_text(json.dumps({**stored, "config": {**CONFIG, **dict.fromkeys(other, 7)}}))
        with pytest.raises(ValueError, match=f"{next(iter(other))}: 7 there, .* now"):
            opened(folder)

    def test_not_to_be_resumed(self, folder, tmp_path):
        with pytest.raises(ValueError, match="holds a run, and not to resume it"):
            opened(folder, resume=False)
        opened(tmp_path / "new", resume=False)

    @pytest.mark.parametrize(
        "text",
        ["", "[" * 100_000, '{"config": {"se', "[]", "{}", '{"config": {}}', '{"config": [], "data": null}', "\xff"],
    )
    def test_damaged(self, folder, text):
        (folder / "config.json").write_bytes(text.encode("latin1"))
        with pytest.raises(ValueError, match=r"config.json, which is damaged or not of a run"):
            opened(folder)

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file", tmp_path / "file" / "run"):
            with pytest.raises(OSError, match="file"):
                opened(path)


def state_of(trainer):
    """All that a trainer will ever decide by, but the clock."""
    held = trainer.checkpointables()
    state = {**json.loads(trainer.state.serialize()), "wall_seconds": 0}
    parts = [held[name] for name in ("phi", "best", "slots", "average")]
    arrays = tf.nest.map_structure(lambda variable: variable.numpy(), parts)
    return json.dumps(state), arrays


def ambitious():
    """A trainer with everything on."""
    given = training.staged(curriculum={"patience": 3})
    validation = l2o.Validation(2, 2, fresh_seeds=True)
    return training.trainer(
        training.sometimes_nan(0.35),
        num_epochs=16,
        max_skips=2,
        average=l2o.RunningAverage(0.9),
        **{**given, "validation": validation},
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run with everything on: `(folder, events, state after every meta-epoch)`.

    It changes its stage in mid-run, skips meta-epochs that diverge, and imitates two teachers in turn. The folder has
    a checkpoint of every meta-epoch in `0`, `1`, ...
    """
    trainer = ambitious()
    folder, events, states = tmp_path_factory.mktemp("run"), [], []
    with trainer.reporter(folder) as reporter:
        while not trainer.finished:
            events.append(trainer.advance())
            reporter.report(events[-1])
            states.append(state_of(trainer))
            path = str(folder / str(trainer.state.epoch) / "checkpoints")
            tf.train.CheckpointManager(tf.train.Checkpoint(**trainer.checkpointables()), path, 1).save()
    trainer.export(folder)
    return folder, events, states


def assert_same(ours, theirs):
    assert ours[0] == theirs[0]
    tf.nest.map_structure(np.testing.assert_array_equal, ours[1], theirs[1])


class TestResume:
    def test_the_run_has_everything(self, uninterrupted):
        """Otherwise the next test shows nothing."""
        _, events, states = uninterrupted
        assert {event.lesson for event in events} == {"train", "imitation/adam", "imitation/sgd"}
        assert {event.stage for event in events} >= {0, 1}
        assert 1 < sum(event.report.diverged for event in events) < 8
        assert json.loads(states[12][0])["skips_in_a_row"] == 1
        assert any("back to the last good weights" in message for message in events[13].messages)

    def test_goes_on_as_if_it_had_never_stopped(self, uninterrupted):
        """From several checkpoints, into a trainer that has been elsewhere before: every number is the same."""
        folder, events, states = uninterrupted
        trainer = ambitious()
        for start in (3, 13, len(events) - 1):
            Checkpoints(folder / str(start), trainer.checkpointables())
            assert_same(state_of(trainer), states[start - 1])
            for event, state in zip(events[start:], states[start:], strict=True):
                again = trainer.advance()
                assert repr(again._replace(steps_per_second=0)) == repr(event._replace(steps_per_second=0))
                assert_same(state_of(trainer), state)
            assert trainer.finished

    def test_state_round_trip(self):
        state = TrainingState(
            5, 400, [3, 2], 1, 1, cl.CurriculumState(), [{"epoch": 2, "cost": float("nan")}], "", 0.1 + 0.2
        )
        again = TrainingState()
        again.deserialize(state.serialize())
        assert again.serialize() == state.serialize()
        assert again.curriculum == state.curriculum
        assert again.wall_seconds == state.wall_seconds

    def test_state_of_an_earlier_version(self):
        """It counted imitations only."""
        values = json.loads(TrainingState(epoch=7).serialize())
        del values["counts"]
        state = TrainingState()
        state.deserialize(json.dumps({**values, "imitations": 3}))
        assert (state.epoch, state.counts) == (7, [4, 3])


class TestOutput:
    def test_card(self, uninterrupted):
        folder, events, states = uninterrupted
        card, weights = saving.load_weights(folder)
        state = json.loads(states[-1][0])
        assert (card["optimizer"], card["architecture"]["layers"]) == ("L2O-DM", [2])
        assert (card["config"]["curriculum"]["patience"], card["data"]) == (3, None)
        assert (card["meta_epochs"], card["inner_steps"]) == (len(events), state["inner_steps"])
        assert card["diverged_meta_epochs"] == sum(event.report.diverged for event in events)
        assert len(card["validation"]) == sum(len(event.validations) for event in events)
        assert card["wall_seconds"] > 0 and not card["untrained"]
        assert {"commit", "versions", "date"} <= card["provenance"].keys()
        for value, best in zip(weights.values(), states[-1][1][1], strict=True):
            np.testing.assert_array_equal(value, best)

    def test_weights_that_no_validation_has_seen(self, tmp_path):
        training.trainer().export(tmp_path)
        assert saving.load_weights(tmp_path)[0]["untrained"]

    def test_records(self, uninterrupted):
        """One line per meta-epoch, with its lesson's loss; the validations and what happened beside."""
        folder, events, _ = uninterrupted
        records = read_records(folder / "records.jsonl")
        lines = [record for record in records if "event" not in record]
        assert [record["meta_epoch"] for record in lines] == list(range(len(events)))
        for record, event in zip(lines, events, strict=True):
            loss = record["train/meta_loss" if event.lesson == "train" else event.lesson]
            assert loss == (None if event.report.diverged else event.report.meta_loss)
            assert (record["curriculum/stage"], record["curriculum/horizon"]) == (event.stage, event.horizon)
            assert ("validation/loss" in record) == bool(event.validations)
            assert ("validation/baseline" in record) == (len(event.validations) > 1)
            for validation in event.validations[:1]:
                curve = validation.losses.mean(axis=0)
                at_horizon = record["validation/loss_at_training_horizon"]
                assert at_horizon is None or at_horizon == pytest.approx(curve[event.horizon - 1], rel=1e-5)
        told = [record["event"] for record in records if "event" in record]
        assert told == [message for event in events for message in event.messages]
        assert lines[-1]["meta_gradient/skipped"] == sum(event.report.diverged for event in events)
