"""The commands that make weights of others."""

import pickle
import shutil

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import saving
from l2o_tf.cli.weights import main
from l2o_tf.optimizers import Step, make_optimizer
from l2o_tf.optimizers.scale.weights import STEP_SIZE
from l2o_tf.saving import drift, loading
from problems.base import make_seed
from tests.l2o_tf.saving.samples import assert_equal, original_tree, some_weights


class TestCommand:
    def test_import(self, tmp_path, capsys):
        weights = saving.named_weights(make_optimizer("L2O-DM"))
        (tmp_path / "dm").mkdir()
        source = tmp_path / "dm" / "cw.l2l-0"
        source.write_bytes(pickle.dumps(original_tree(weights), 4))
        assert main(["import", str(source), "--optimizer=L2O-DM", f"--output={tmp_path / 'out'}"]) == 0
        assert "6 variables" in capsys.readouterr().out
        card, imported = saving.load_weights(tmp_path / "out")
        assert_equal(imported, weights)
        assert card["optimizer"] == "L2O-DM"
        assert card["architecture"]["layers"] == [20, 20]
        assert card["imported"]["file"] == "dm/cw.l2l-0"
        assert str(tmp_path) not in (tmp_path / "out" / "optimizer.json").read_text()

    @pytest.mark.parametrize("case", ["missing", "garbage", "architecture", "unknown_optimizer"])
    def test_bad_input_is_one_line_and_exit_code_2(self, tmp_path, capsys, case):
        source = tmp_path / "w.npz"
        if case == "garbage":
            source.write_bytes(b"not weights\n" * 3)
        elif case != "missing":
            np.savez(source, **some_weights())
        optimizer = "L2O-DN" if case == "unknown_optimizer" else "L2O-DM"
        assert main(["import", str(source), f"--optimizer={optimizer}", f"--output={tmp_path / 'out'}"]) == 2
        captured = capsys.readouterr()
        assert ": Received " in captured.err
        assert captured.err.count("\n") == 1
        assert not (tmp_path / "out").exists()


TRAINED = {"commit": "that of the training"}


@pytest.fixture
def folders(made, tmp_path):
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two of one architecture, which are 0 and 4; one of another, one with another scale, and one that was adjusted."""
    folder = tmp_path_factory.mktemp("made")
    for name, architecture, value in (
        ("first", "L2O-DM", 0.0),
        ("second", "L2O-DM", 4.0),
        ("other", "RNNprop", 1.0),
        ("larger", "L2O-DM", 2.0),
        ("adjusted", "L2O-DM", 3.0),
        ("levels", "L2O-Scale", 0.1),
        ("no_rates", "L2O-Scale", 0.1),
    ):
        options = {
            "larger": {"scale": 0.1},
            "no_rates": {"dynamic_learning_rates": False, "relative_learning_rate": "none"},
        }
        learned = make_optimizer(architecture, options.get(name, {}))
        weights = {key: np.full_like(x, value) for key, x in saving.named_weights(learned).items()}
        card = {"optimizer": architecture, "architecture": learned.architecture, "meta_epochs": int(value)}
        card["provenance"] = TRAINED
        if name == "adjusted":
            card["adjusted"] = {"factor": 4.0, "no_drift": True, "from": {"name": "runs/this"}}
        saving.save_weights(folder / name, weights, card)
    return folder


class TestInterpolate:
    @pytest.mark.parametrize("share", [0, 0.25, 1])
    def test_it_is_on_the_line(self, folders, capsys, share):
        first, second, out = (str(folders / name) for name in ("first", "second", "out"))
        assert main(["interpolate", first, second, f"--share={share}", f"--output={out}"]) == 0
        assert f"{share:.0%} of the way" in capsys.readouterr().out
        card, weights = saving.load_weights(out)
        assert main(["interpolate", first, second, f"--output={out}"]) == 2
        assert "out, which holds weights already" in capsys.readouterr().err
        assert {float(x) for value in weights.values() for x in np.unique(value)} == {4 * share}
        assert {value.dtype for value in weights.values()} == {np.dtype("float32")}
        assert (card["meta_epochs"], card["interpolated"]["share"], card["provenance"]) == (4, share, TRAINED)
        assert card["interpolated"]["provenance"].keys() == saving.provenance().keys()
        sources = [saving.load_weights(name)[0]["weights"]["sha256"] for name in (first, second)]
        assert [end["sha256"] for end in card["interpolated"]["between"]] == sources

    @pytest.mark.parametrize(
        ("second", "share", "says"),
        [
            ("second", "1.5", "a share of 1.5"),
            ("second", "nan", "a share of nan"),
            ("other", "0.5", "of one architecture"),
            ("larger", "0.5", "scale: 0.01 first, 0.1 second"),
            ("nowhere", "0.5", "expected one of"),
            ("adjusted", "0.5", "adjusted, which was adjusted after training"),
        ],
    )
    def test_bad_input(self, folders, capsys, second, share, says):
        first, second, out = (str(folders / name) for name in ("first", second, "out"))
        assert main(["interpolate", first, second, f"--share={share}", f"--output={out}"]) == 2
        assert says in capsys.readouterr().err
        assert not (folders / "out").exists()

    def test_a_rule_has_no_weights(self, folders, capsys):
        assert main(["interpolate", "Adam", str(folders / "second"), f"--output={folders / 'out'}"]) == 2
        assert "Adam, an analytic rule, which has no weights" in capsys.readouterr().err


def adjust(*arguments):
    return main(["adjust", *map(str, arguments)])


class TestAdjust:
    @pytest.mark.parametrize(
        ("architecture", "folder"), [("L2O-DM", "second"), ("RNNprop", "other"), ("L2O-Scale", "levels")]
    )
    def test_all_updates_are_multiplied(self, folders, capsys, architecture, folder):
        out = folders / "out"
        assert adjust(folders / folder, "--factor=0.25", f"--output={out}") == 0
        assert "with updates times 0.25, in" in capsys.readouterr().out
        card, weights = saving.load_weights(out)
        before, same = saving.load_weights(folders / folder)
        source = {"name": str(folders / folder), "sha256": before["weights"]["sha256"]}
        assert card["adjusted"].pop("provenance").keys() == saving.provenance().keys()
        assert card["adjusted"] == {"factor": 0.25, "no_drift": False, "from": source}
        assert (card["meta_epochs"], card["provenance"]) == (before["meta_epochs"], TRAINED)
        changed = [name for name in same if not (weights[name] == same[name]).all()]
        assert changed == ([STEP_SIZE] if architecture == "L2O-Scale" else [])
        assert {value.dtype for value in weights.values()} == {np.dtype("float32")}
        params = {"x": tf.constant([0.5, -2.0])}
        steps = []
        for name in (folders / folder, out):
            optimizer = loading.load(str(name))
            assert optimizer.kind == architecture
            steps.append(
                optimizer.update(Step(params, params), optimizer.initial_state(params, tf.constant([0, 1])))[0]["x"]
            )
        assert np.abs(steps[0]).min() > 1e-7
        np.testing.assert_allclose(steps[1], 0.25 * steps[0], rtol=1e-6)

    @pytest.mark.parametrize("architecture", ["L2O-DM", "RNNprop"])
    def test_without_drift_what_has_no_gradient_stays(self, tmp_path, capsys, architecture):
        """And updates differ from those before by a constant of the last layer."""
        learned = make_optimizer(architecture, {"seed": 3})
        learned.named_variables["linear/b"].assign([0.5])
        card = {"optimizer": architecture, "architecture": learned.architecture}
        saving.save_weights(tmp_path / "run", saving.named_weights(learned), card)
        assert adjust(tmp_path / "run", "--no_drift", "--factor=0.5", f"--output={tmp_path / 'out'}") == 0
        before, after = (loading.load(str(tmp_path / name)) for name in ("run", "out"))
        taken = drift.updates(before)[0][-1, 0]
        assert abs(taken) > 1e-3
        assert f"without a drift of {taken:.1e} a step, in" in capsys.readouterr().out
        assert drift.measure(after).never.last < 1e-6 * abs(taken)
        params = {"x": tf.constant([0.5, -2.0])}
        old, new = (
            [
                cell.last_layer(float(u))
                for u in optimizer.update(Step(params, params), optimizer.initial_state(params, None))[0]["x"]
            ]
            for optimizer, cell in ((before, before.cell), (after, after.cell))
        )
        np.testing.assert_allclose(np.subtract(old, new), before.cell.last_layer(taken), rtol=1e-5)
        assert loading.load_optimizer(str(tmp_path / "out"))[1]["adjusted"]["no_drift"] is True

    def test_what_remains_where_gradients_have_been_is_said(self, tmp_path, capsys):
        """L2O-DM comes to rest at several points, of which one bias serves one."""
        assert adjust("L2O-DM", "--no_drift", f"--output={tmp_path / 'out'}") == 0
        assert "(3.8e-02 a step remain where gradients have ended)" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("folder", "options", "says"),
        [
            ("first", ["--factor=0"], "a factor of 0.0"),
            ("first", ["--factor=-1"], "a factor of -1.0"),
            ("first", ["--factor=nan"], "a factor of nan"),
            ("first", ["--factor=inf"], "a factor of inf"),
            ("first", [], "expected something to adjust"),
            ("first", ["--initial_learning_rates=1e-5,1e-3"], "(L2O-DM), expected an L2O-Scale"),
            ("levels", ["--initial_learning_rates=1e-3,1e-5"], "initial_learning_rates"),
            ("levels", ["--initial_learning_rates=1e-3"], "initial_learning_rates"),
            ("no_rates", ["--factor=0.5"], "(L2O-Scale), which has neither an output scale nor learning rates"),
            ("levels", ["--no_drift"], "levels, whose drift is not the bias of a last layer"),
            ("nowhere", ["--no_drift"], "expected one of"),
        ],
    )
    def test_bad_input(self, folders, capsys, folder, options, says):
        assert adjust(folders / folder, *options, f"--output={folders / 'out'}") == 2
        assert says in capsys.readouterr().err
        assert not (folders / "out").exists()

    def test_who_does_not_come_to_rest_is_refused(self, folders, capsys, monkeypatch):
        never = np.linspace(1e-4, 2e-4, 10)[:, None]
        monkeypatch.setattr(drift, "updates", lambda optimizer: (never, never))
        assert adjust(folders / "second", "--no_drift", f"--output={folders / 'out'}") == 2
        assert "does not come to rest within 1,000 steps" in capsys.readouterr().err

    def test_first_learning_rates(self, folders, capsys):
        """They are drawn from the other range, and nothing else is changed."""
        rates = "--initial_learning_rates=0.02,0.03"
        assert adjust(folders / "levels", rates, f"--output={folders / 'out'}") == 0
        assert "first learning rates 0.02 to 0.03, in" in capsys.readouterr().out
        optimizer, card = loading.load_optimizer(str(folders / "out"))
        assert (card["adjusted"]["factor"], card["adjusted"]["initial_learning_rates"]) == (1.0, [0.02, 0.03])
        state = optimizer.initial_state({f"x{i}": tf.zeros([2]) for i in range(20)}, make_seed(0))
        drawn = np.exp(np.unique(state.log_learning_rate))
        assert (len(drawn), *np.round([drawn.min(), drawn.max()], 2)) == (40, 0.02, 0.03)
        assert (
            saving.load_weights(folders / "out")[0]["weights"] == saving.load_weights(folders / "levels")[0]["weights"]
        )

    def test_factors_are_multiplied(self, folders):
        assert adjust(folders / "adjusted", "--factor=0.5", f"--output={folders / 'out'}") == 0
        card = saving.load_weights(folders / "out")[0]
        del card["adjusted"]["provenance"]
        assert card["adjusted"] == {"factor": 2.0, "no_drift": True, "from": {"name": "runs/this"}}
        assert card["architecture"]["scale"] == 0.005

    def test_a_run_keeps_its_own_weights(self, folders, capsys):
        (folders / "run").mkdir()
        (folders / "run" / "config.json").write_text("{}")  # before its first validation
        assert adjust(folders / "first", "--factor=0.5", f"--output={folders / 'run'}") == 2
        assert "run, which holds weights already" in capsys.readouterr().err
