"""Optimizers by what a user types."""

import json
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import saving
from l2o_tf.common import names
from l2o_tf.optimizers import Step, make_optimizer
from l2o_tf.saving.loading import load_optimizer

POLICY = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
PARAMS = {"conv": tf.constant([1.0, -2.0]), "fc": tf.constant([0.5])}


def save(folder, kind="L2O-DM", architecture=None):
    """A folder as a run writes it, with weights that no seed gives."""
    optimizer = make_optimizer(kind, architecture or {"layers": [3], "preprocess": "Clamp", "scale": 0.1})
    weights = {name: value + 0.25 for name, value in saving.named_weights(optimizer).items()}
    saving.assign_weights(optimizer, weights)
    card = {"optimizer": optimizer.kind, "architecture": optimizer.architecture, "meta_epochs": 7}
    saving.save_weights(folder, weights, card)
    return optimizer


def updates(optimizer):
    """Two steps, so that states and all of the architecture count."""
    state = optimizer.initial_state(PARAMS, tf.constant([0, 0]))
    _, state = optimizer.update(Step(PARAMS, PARAMS), state)
    return optimizer.update(Step(PARAMS, PARAMS), state)[0]


def assert_alike(ours, theirs):
    tf.nest.map_structure(np.testing.assert_array_equal, updates(ours), updates(theirs))


class TestAnalytic:
    @pytest.mark.parametrize("name", ["Adam", "adam", "ADAM", "SGD", "RMSProp"])
    def test_in_any_case(self, name):
        optimizer, card = load_optimizer(name)
        assert optimizer.name == name
        assert card["optimizer"] == name.lower()
        assert_alike(optimizer, make_optimizer(name.lower()))

    def test_learning_rate(self):
        optimizer, card = load_optimizer("Adam", 0.3)
        assert_alike(optimizer, make_optimizer("adam", {"learning_rate": 0.3}))
        assert card["architecture"] == {"learning_rate": 0.3}

    def test_a_learning_rate_of_its_own_comes_first(self):
        optimizer, card = load_optimizer("Adam:0.3", 0.1)
        assert optimizer.name == "Adam 0.3"
        assert card == load_optimizer("adam", 0.3)[1]
        assert_alike(optimizer, make_optimizer("adam", {"learning_rate": 0.3}))

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("Adam:", "^Received optimizer 'Adam:', expected a learning rate after the colon: Adam:0.01.$"),
            ("Adam:fast", "^Received optimizer 'Adam:fast', expected a learning rate after the colon"),
            ("Adam:-1", "^Received learning_rate=-1.0, expected a positive number"),
            ("Adamm:0.1", "^Received optimizer 'Adamm:0.1', expected one of .*Adam"),
            ("L2O-DM:0.1", "^Received optimizer 'L2O-DM:0.1', expected one of"),
        ],
    )
    def test_what_is_no_learning_rate(self, name, message):
        with pytest.raises(ValueError, match=message):
            load_optimizer(name)


class TestRun:
    @pytest.mark.parametrize("part", ["", "weights.npz", "optimizer.json"])
    def test_by_its_path(self, tmp_path, part):
        original = save(tmp_path / "run")
        optimizer, card = load_optimizer(str(tmp_path / "run" / part))
        assert optimizer.name == str(tmp_path / "run" / part)
        assert card["meta_epochs"] == 7
        assert_alike(optimizer, original)

    def test_of_different_optimizers_for_different_parameters(self, tmp_path):
        learned = {"layers": [2], "scale": 1.0}
        entries = [["conv", "L2O-DM", learned], ["*", "sgd", {"learning_rate": 0.5}]]
        original = save(tmp_path, "assigned", {"assignments": entries})
        assert_alike(load_optimizer(str(tmp_path))[0], original)

    def test_a_name_that_ships(self, tmp_path, monkeypatch):
        monkeypatch.setattr(names, "PRETRAINED", tmp_path)
        original = save(tmp_path / "L2O-XX")
        optimizer, _ = load_optimizer("L2O-XX")
        assert optimizer.name == "L2O-XX"
        assert_alike(optimizer, original)
        assert names.pretrained_names() == ["L2O-XX"]
        with pytest.raises(ValueError, match="Did you mean L2O-XX"):
            load_optimizer("L2O-X")

    def test_everything_that_ships_loads(self):
        for name in names.pretrained_names():
            optimizer, card = load_optimizer(name)
            assert card["optimizer"] == optimizer.kind
            assert np.isfinite(updates(optimizer)["conv"]).all()

    @pytest.mark.parametrize(
        "change",
        [
            {"optimizer": None},
            {"architecture": None},
            {"architecture": 3},
            {"architecture": {"lairs": [3]}},
            {"architecture": {"layers": 10**5 * [1]}},
            {"architecture": {"preprocess": "x" * 10**6}},
            {"architecture": {"dtype": {"config": {"name": POLICY}}}},
            {"optimizer": "assigned", "architecture": {"assignments": 10**4 * [["*", "L2O-DM", {}]]}},
        ],
        ids=lambda change: str(change)[:60],
    )
    def test_a_card_that_describes_no_optimizer(self, tmp_path, change):
        save(tmp_path)
        card = json.loads((tmp_path / "optimizer.json").read_text()) | change
        card = {key: value for key, value in card.items() if value is not None}
        (tmp_path / "optimizer.json").write_text(json.dumps(card))
        with pytest.raises(
            ValueError, match=r"Received .*optimizer.json, whose optimizer and architecture cannot be made"
        ) as caught:
            load_optimizer(str(tmp_path))
        assert len(str(caught.value)) < 1000

    @pytest.mark.parametrize("units", [4, 30_000])
    def test_weights_of_another_architecture(self, tmp_path, units, monkeypatch):
        """Which is not made."""
        save(tmp_path)
        monkeypatch.setattr("l2o_tf.saving.loading.make_optimizer", None)
        card = json.loads((tmp_path / "optimizer.json").read_text())
        card["architecture"]["layers"] = [units]
        (tmp_path / "optimizer.json").write_text(json.dumps(card))
        with pytest.raises(ValueError, match="weights of another architecture.*lstm_1/w_gates"):
            load_optimizer(str(tmp_path))


class TestOriginal:
    def test_a_weight_file(self, tmp_path):
        original = make_optimizer("L2O-DM", {"seed": 5})
        np.savez(tmp_path / "dm_cl.npz", **saving.named_weights(original))
        optimizer, card = load_optimizer(str(tmp_path / "dm_cl.npz"))
        assert optimizer.name == "dm_cl (original)"
        assert card == {"optimizer": "L2O-DM", "imported_from": "dm_cl.npz"}
        assert_alike(optimizer, original)

    def test_a_file_named_like_all_others(self, tmp_path):
        """The original program calls every file `cw.l2l-0`; the folder tells them apart."""
        np.savez(tmp_path / "cw.npz", **saving.named_weights(make_optimizer("L2O-DM")))
        (tmp_path / "dm_cl").mkdir()
        shutil.move(tmp_path / "cw.npz", tmp_path / "dm_cl" / "cw.l2l-0")
        assert load_optimizer(str(tmp_path / "dm_cl" / "cw.l2l-0"))[0].name == "dm_cl (original)"

    def test_what_was_released(self, shared_dir):
        names = {load_optimizer(str(shared_dir / "weights" / f"{n}.npz"))[0].name for n in ("dm", "dm_cl", "dm_cl_il")}
        assert names == {"dm (original)", "dm_cl (original)", "dm_cl_il (original)"}

    def test_of_no_known_architecture(self, tmp_path):
        np.savez(tmp_path / "w.npz", **{"linear/w": np.ones([3, 1], np.float32)})
        with pytest.raises(ValueError, match="fit none of the architectures"):
            load_optimizer(str(tmp_path / "w.npz"))

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("notes.txt", "cannot be read as weights"),
            ("model.keras", "a saved Keras model, expected one of"),
            ("model.h5", "a saved Keras model, expected one of"),
            ("archive.zip", "no .npz file of plain arrays"),
            ("pipe", "which is no regular file, expected one of"),
            ("folder", "has no weights.npz and no optimizer.json"),
            ("x" * 300, "expected one of"),
        ],
    )
    def test_no_weights_at_all(self, tmp_path, name, says):
        for text in ("notes.txt", "model.h5"):
            (tmp_path / text).write_text("to do")
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(tmp_path / "model.keras")
        shutil.copy(tmp_path / "model.keras", tmp_path / "archive.zip")
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match=f"^Received .*{says}"):
            load_optimizer(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "hint"), [("Adma", "Did you mean Adam"), ("nothing/like/it", "program.$"), ("", "program.$")]
)
def test_unknown(name, hint):
    with pytest.raises(ValueError, match=f"Received optimizer {name!r}.*, expected one of .*{hint}"):
        load_optimizer(name)


class TestSave:
    def test_it_is_loaded_again(self, tmp_path):
        original = make_optimizer("RNNprop", {"layers": [3], "seed": 2})
        saving.save(original, tmp_path / "mine")
        again, card = load_optimizer(str(tmp_path / "mine"))
        assert_alike(again, original)
        assert (card["optimizer"], card["provenance"].keys()) == ("RNNprop", saving.provenance().keys())

    def test_weights_are_replaced_only_if_asked(self, tmp_path):
        first, second = (make_optimizer("L2O-DM", {"layers": [2], "seed": seed}) for seed in (0, 1))
        saving.save(first, tmp_path)
        with pytest.raises(ValueError, match="which holds weights already"):
            saving.save(second, tmp_path)
        saving.save(second, tmp_path, overwrite=True)
        assert_alike(load_optimizer(str(tmp_path))[0], second)

    def test_those_of_a_meta_training_never_are(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ValueError, match="which holds weights already"):
            saving.save(make_optimizer("L2O-DM"), tmp_path, overwrite=True)
        assert os.listdir(tmp_path) == ["config.json"]

    def test_what_could_not_be_loaded_is_refused(self, tmp_path):
        unknown = make_optimizer("L2O-DM", {"layers": [2]})
        unknown.kind = "Mine"
        for wrong, says in (
            (unknown, "of the class Mine, which another process does not know. Put the class into a file"),
            (make_optimizer("adam"), "expected an optimizer with meta-parameters"),
            ("L2O-DM", "Received 'L2O-DM', expected an optimizer with meta-parameters"),
        ):
            with pytest.raises(ValueError, match=says):
                saving.save(wrong, tmp_path / "mine")
        assert not os.listdir(tmp_path)
