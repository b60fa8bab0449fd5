"""L2O-Scale's weights in the original program's form: a checkpoint of TensorFlow 1, or its variables as `.npz`."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import saving
from l2o_tf.cli.weights import main
from l2o_tf.saving import tensorflow1
from l2o_tf.saving.loading import load_optimizer
from tests.l2o_tf import numpy_scale as reference


@pytest.fixture
def variables():
    """As the program saves them: weights, two slots each, and the step."""
    weights = reference.random_weights(np.random.default_rng(0))
    found = {"global_step": np.int32(6)}
    for name, value in weights.items():
        value = np.float32(value)
        found |= {f"LOL/{name}": value, f"LOL/{name}/RMSProp": value + 1, f"LOL/{name}/RMSProp_1": value + 2}
    return found


def save_as_tensorflow_1(path, variables) -> str:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in variables.items():
            tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(path / "model.ckpt-0"))


def assert_weights(weights, variables):
    assert weights.keys() == reference.shapes().keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, variables[f"LOL/{name}"])


def test_checkpoint(tmp_path, variables, capsys):
    """In a folder whose name looks like a pattern, too."""
    save_as_tensorflow_1(tmp_path, variables)
    (tmp_path / "[a-z]").mkdir()
    for path in tmp_path.glob("model.ckpt-0.*"):
        path.rename(tmp_path / "[a-z]" / path.name.replace("model", "[m]"))
    source = str(tmp_path / "[a-z]" / "[m].ckpt-0")
    assert_weights(saving.import_original(source), variables)
    assert main(["import", source, "--optimizer=L2O-Scale", f"--output={tmp_path / 'out'}"]) == 0
    assert "31 variables of L2O-Scale" in capsys.readouterr().out
    for name in (str(tmp_path / "out"), source):
        optimizer, card = load_optimizer(name)
        assert card["optimizer"] == optimizer.kind == "L2O-Scale"
        assert_weights(saving.named_weights(optimizer), variables)


@pytest.mark.parametrize("separator", ["/", "__"])
def test_npz(tmp_path, variables, separator):
    np.savez(tmp_path / "w.npz", **{name.replace("/", separator): value for name, value in variables.items()})
    assert_weights(saving.import_original(tmp_path / "w.npz"), variables)


def test_a_damaged_checkpoint(tmp_path, variables):
    source = save_as_tensorflow_1(tmp_path, variables)
    for path in tmp_path.glob("model.ckpt-0.data-*"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="which is damaged or incomplete"):
        saving.import_original(source)


def test_too_large_a_checkpoint(tmp_path, variables, monkeypatch):
    source = save_as_tensorflow_1(tmp_path, variables)
    monkeypatch.setattr(tensorflow1, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="weights and slots of more than 3,000 bytes"):
        saving.import_original(source)


def test_released_checkpoint(shared_dir):
    weights = saving.import_original(shared_dir / "l2o_scale_ckpt.npz")
    assert {name: value.shape for name, value in weights.items()} == reference.shapes()
    np.testing.assert_allclose(weights["inp_decay_bias"], [2.2])
