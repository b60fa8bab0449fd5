"""Meta-training that begins with trained weights: `--initial_weights`."""

import re

import numpy as np
import pytest
from absl import flags

import l2o_tf as l2o
from l2o_tf import saving
from l2o_tf.cli import meta_train
from l2o_tf.cli.assembly import make_arguments, make_student
from l2o_tf.cli.config import resolve
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving.loading import begin_with, load
from l2o_tf.training.reporting import scalars
from l2o_tf.training.run_folder import Checkpoints
from tests import scripts
from tests.l2o_tf import training

CURRICULUM = {"curriculum": l2o.Curriculum((4, 8, 12), min_periods=1), "validation": l2o.Validation(1, 2)}


def save(folder, optimizer):
    card = {"optimizer": optimizer.kind, "architecture": optimizer.architecture}
    saving.save_weights(folder, saving.named_weights(optimizer), card)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained optimizer of the tests' architecture, with weights that no seed gives."""
    folder = tmp_path_factory.mktemp("trained")
    optimizer = training.student()
    saving.assign_weights(optimizer, {name: value + 0.25 for name, value in saving.named_weights(optimizer).items()})
    save(folder, optimizer)
    return folder


@pytest.fixture(scope="module")
def before(folder):
    return saving.load_weights(folder)[1]


def trainer(folder, **arguments):
    student = training.student()
    begin_with(student, str(folder))
    return training.trainer(learner=student, beats_its_start=True, **arguments)


def test_the_flag_gives_them_to_the_student(folder, before):
    config = resolve({"initial_weights": str(folder), "architecture": "layers=2", "seed": 8})
    training.assert_same({name: v.numpy() for name, v in make_student(config).named_variables.items()}, before)
    assert make_arguments(config)["beats_its_start"] and not make_arguments(resolve({}))["beats_its_start"]


class TestResult:
    def test_their_validation_comes_first(self, folder):
        with training.eagerly():
            trained = trainer(folder)
            events = [trained.advance() for _ in range(2)]
        (baseline,), (period,) = (event.validations for event in events)
        assert (baseline.is_baseline, period.is_baseline) == (True, False)
        assert events[0].messages == [f"stage 0: training on 8 steps; to beat: {baseline.cost:.4g} after 8 steps"]
        assert [entry["epoch"] for entry in trained.state.history] == [0, 2]
        records = [scalars(event)[0] for event in events]
        assert (records[0]["validation/baseline"], records[1]["validation/loss"]) == (baseline.cost, period.cost)
        assert "validation/loss" not in records[0]

    @pytest.mark.parametrize(("cost", "kept"), [(4.0, False), (5.0, True), (float("nan"), True)])
    def test_what_does_not_beat_them_is_not_kept(self, folder, before, cost, kept):
        with training.eagerly():
            trained = trainer(folder, num_epochs=1)
            training.scripted(trained, [5.0, cost])
            trained.advance()
        assert training.differ(training.weights(trained), before)
        assert training.differ(trained.best_weights(), before) != kept
        assert ("initial weights, which are the result" in trained._outcome(True)) == kept

    def test_a_curriculum_may_end_with_them(self, folder, before):
        with training.eagerly():
            trained = trainer(folder, **CURRICULUM)
            training.scripted(trained, [5.0, 5.5])
            trained.advance()
        assert trained.finished
        training.assert_same(trained.best_weights(), before)
        assert trained.state.stopped == (
            "Stage 0 did not beat its baseline 5 in 1 periods; the weights it began with are the result."
        )

    def test_a_later_stage_begins_as_ever(self, folder):
        with training.eagerly():
            trained = trainer(folder, **CURRICULUM)
            training.scripted(trained, [5.0, 4.0, 4.5, 6.0, 6.5])
            events = [trained.advance() for _ in range(3)]
        assert [[v.is_baseline for v in e.validations] for e in events] == [[True, False], [False, True], [False]]
        assert "best weights of stage 0" in trained.state.stopped


def test_a_resumed_run_validates_them_no_more(folder, tmp_path):
    with training.eagerly():
        first = trainer(folder, num_epochs=3)
        checkpoints = Checkpoints(tmp_path, first.checkpointables())
        first.advance()
        checkpoints.save()
        second = trainer(folder, num_epochs=3)
        Checkpoints(tmp_path, second.checkpointables())
        for trained in (first, second):
            while not trained.finished:
                trained.advance()
    assert [entry["epoch"] for entry in second.state.history] == [0, 2, 3]
    assert second.state.history == first.state.history
    training.assert_same(training.weights(second), training.weights(first))
    training.assert_same(second.best_weights(), first.best_weights())


class TestRefused:
    def refused(self, name, **options):
        with pytest.raises(ValueError) as caught:
            make_student(resolve({"initial_weights": str(name), **options}))
        return str(caught.value)

    def test_no_weights(self):
        assert "Received Adam, an analytic rule, which has no weights, expected one of" in self.refused("Adam")

    def test_unknown(self):
        assert re.search("Received optimizer 'RNNpropp'.*RNNprop", self.refused("RNNpropp"))

    def test_another_architecture(self, folder):
        answer = self.refused(folder, optimizer="RNNprop")
        assert "architecture L2O-DM, for RNNprop. Use --optimizer=L2O-DM" in answer

    def test_other_sizes(self, folder):
        answer = self.refused(folder, architecture="layers=3")
        assert re.search(r"another architecture than .*w: \[3, 1\] expected", answer)


class TestTheirArchitecture:
    """Comes with them, so that an adjusted optimizer is trained further as what it is."""

    def asked(self, name, *arguments):
        values = flags.FlagValues()
        meta_train.define_flags(values)
        values(["meta_train", f"--initial_weights={name}", *arguments])
        return meta_train.requested(values)

    def test_without_a_word(self):
        asked = self.asked("RNNprop-CL-IL", "--preset=rnnprop2017")
        assert (asked.optimizer, asked.architecture) == ("RNNprop", "scale=0.005")
        student, shipped = make_student(asked), load("RNNprop-CL-IL")
        assert student.architecture | {"seed": 0, "name": ""} == shipped.architecture | {"seed": 0, "name": ""}

    def test_what_is_given_has_the_last_word(self):
        asked = self.asked("RNNprop-CL-IL", "--optimizer=RNNprop", "--architecture=scale=0.3")
        assert asked.architecture == "scale=0.3"

    def test_a_cell_from_a_file_has_arguments_too(self, tmp_path):
        file = scripts.ROOT / "examples" / "new_optimizer.py"
        save(tmp_path, make_optimizer(f"{file}:GRUCell", {"units": 3, "seed": 1}))
        asked = self.asked(tmp_path, f"--optimizer={file}:GRUCell")
        assert asked.architecture == "units=3"
        assert make_student(asked).architecture["units"] == 3

    def test_what_is_as_usual_is_written_as_usual(self, tmp_path):
        save(tmp_path, make_optimizer("L2O-Scale"))
        assert self.asked(tmp_path) == resolve({"optimizer": "L2O-Scale", "initial_weights": str(tmp_path)})

    @pytest.mark.parametrize("other", ["optimizer=L2O-DM", "net_assignments=x=RNNprop"])
    def test_another_optimizer_is_refused(self, other):
        with pytest.raises(ValueError, match="architecture RNNprop, for .* Use --optimizer=RNNprop, or other weights"):
            make_student(self.asked("RNNprop-CL-IL", f"--{other}"))

    def test_with_assignments_all_is_given(self, tmp_path):
        assigned = "x=L2O-DM,*=adam"
        save(tmp_path, make_student(resolve({"net_assignments": assigned, "architecture": "scale=0.3"})))
        assert self.asked(tmp_path, f"--net_assignments={assigned}").architecture == ""
        with pytest.raises(ValueError, match=r"assigned, for L2O-DM. Use --net_assignments=x=L2O-DM,\*=adam, or other"):
            make_student(self.asked(tmp_path))


def test_other_arguments_are_said(folder, caplog):
    begin_with(make_optimizer("L2O-DM", {"layers": [2], "seed": 9}), str(folder))
    assert not caplog.records
    other = make_optimizer("L2O-DM", {"layers": [2], "scale": 0.5})
    begin_with(other, str(folder))
    assert "other arguments: scale: 0.01 there, 0.5 here" in caplog.text
    assert np.all(other.named_variables["linear/b"].numpy() == saving.load_weights(folder)[1]["linear/b"])
