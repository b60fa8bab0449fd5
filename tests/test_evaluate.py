"""The script: what it writes, what the numbers in it are, and what it refuses."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import saving
from l2o_tf.cli import evaluate
from l2o_tf.common import names
from l2o_tf.evaluating import comparison
from l2o_tf.optimizers import make_optimizer
from problems import make_problem
from problems.base import fold, make_seed
from tests import scripts


def save_run(folder, kind="L2O-DM", architecture=None):
    """A folder as a meta-training leaves it."""
    optimizer = make_optimizer(kind, architecture or {"layers": [2], "seed": 1})
    card = {"optimizer": kind, "architecture": optimizer.architecture, "meta_epochs": 7}
    saving.save_weights(folder, saving.named_weights(optimizer), card)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Three optimizers on two problems: `(folder of the results, path of the run that was evaluated, the answer)`."""
    folder = tmp_path_factory.mktemp("evaluate")
    run = save_run(folder / "run")
    result = scripts.call(
        evaluate,
        *(f"--optimizer={run},Adam,sgd", "--problem=digits,simple", "--num_steps=200", "--num_runs=3", "--seed=5"),
        *("--learning_rate=0.05", f"--output_dir={folder / 'results'}"),
    )
    assert result.code == 0, result
    return folder / "results", run, result


@pytest.fixture(scope="module")
def curves(done):
    with np.load(done[0] / "curves.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def summary(done):
    return json.loads((done[0] / "summary.json").read_text())


def adam_on_simple(learning_rate, num_steps):
    """`x²` from `x = 1`, in NumPy: the loss after each update."""
    x, m, v, losses = 1.0, 0.0, 0.0, []
    for t in range(1, num_steps + 1):
        g = 2 * x
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x -= learning_rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        losses.append(x * x)
    return np.array(losses)


class TestFiles:
    def test_curves(self, curves, done):
        losses = {name: values for name, values in curves.items() if name != "about"}
        assert str(curves["about"]) == (done[0] / "summary.json").read_text()
        assert losses.keys() == {f"{p}/{o}" for p in ("digits", "simple") for o in (done[1], "Adam", "sgd")}
        assert all(values.shape == (3, 200) and np.isfinite(values).all() for values in losses.values())

    def test_adam_is_adam(self, curves):
        expected = adam_on_simple(0.05, 200)
        np.testing.assert_allclose(curves["simple/Adam"], np.tile(expected, [3, 1]), rtol=1e-3, atol=1e-5)

    def test_sgd_has_the_learning_rate_too(self, curves):
        np.testing.assert_allclose(curves["simple/sgd"][0], 0.9 ** (2 * np.arange(1, 201)), rtol=1e-4)

    def test_runs_differ_and_start_alike(self, curves, done):
        first = [curves[f"digits/{o}"][:, 0] for o in (done[1], "Adam", "sgd")]
        assert len(set(first[0])) == 3
        np.testing.assert_allclose(first[1], first[0], atol=0.5)
        assert curves["digits/Adam"][:, -1].max() < 0.5 < curves[f"digits/{done[1]}"][:, -1].min()

    def test_the_first_step_by_hand(self, curves):
        """Run 0 of seed 5: a step of SGD on its first minibatch, the loss on its second."""
        problem, seed = make_problem("digits", mode="test"), fold(make_seed(5), 0)
        params, constants = problem.init(fold(seed, 0))
        batches = problem.sample(fold(seed, 1, 0), 101)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, constants, batches[0])
        grads = tape.gradient(loss, params)
        after = problem.loss({name: params[name] - 0.05 * grads[name] for name in params}, constants, batches[1])
        np.testing.assert_allclose(curves["digits/sgd"][0, 0], after, rtol=1e-6)

    def test_summary(self, summary, curves, done):
        assert [(e["problem"], e["optimizer"]) for e in summary["results"]] == [
            (problem, optimizer) for problem in ("digits", "simple") for optimizer in (str(done[1]), "Adam", "sgd")
        ]
        for entry in summary["results"]:
            losses, found = curves[f"{entry['problem']}/{entry['optimizer']}"], entry["summary"]
            assert [at["step"] for at in found["at"]] == [100, 200]
            logs = np.log(losses[:, 150:].mean(axis=1, dtype=np.float64))
            assert found["at"][1]["mean"] == pytest.approx(logs.mean(), rel=1e-5)
            assert found["at"][1]["median"] == pytest.approx(np.median(logs), rel=1e-5)
            assert found["at"][1]["diverged"] == 0
            assert 0 < found["ms_per_step"] == pytest.approx(1e3 * found["seconds_per_run"] / 200)

    def test_which_data(self, summary):
        for entry in summary["results"]:
            data = entry["identity"]["problem"]["data"]
            if entry["problem"] == "digits":
                assert re.fullmatch(r"digits/test \(360 examples, [0-9a-f]{16}\)", data)
            else:
                assert data is None

    def test_how_it_was_made(self, summary):
        assert summary["flags"] == {
            **{"num_steps": 200, "num_runs": 3, "seed": 5, "record": "after", "full_period": 0},
        }
        assert all({"commit", "versions", "date"} <= entry["provenance"].keys() for entry in summary["results"])
        cards = {entry["optimizer"]: entry["card"] for entry in summary["results"]}
        assert cards.pop("Adam") == {"optimizer": "adam", "architecture": {"learning_rate": 0.05}}
        assert next(iter(cards.values()))["meta_epochs"] == 7

    def test_picture(self, done):
        data = (done[0] / "curves.png").read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 10_000

    def test_table(self, done):
        folder, run, result = done
        assert "digits on digits/test (360 examples, " in result.out
        for name in names.shortened((str(run), "Adam", "sgd"), 40).values():
            assert len(re.findall(rf"^{re.escape(name)} +100 +[\d.]+ +[\d.]+ +-?[\d.]+", result.out, re.MULTILINE)) == 2
        assert f"Picture: {folder / 'curves.png'}" in result.out


class TestOptions:
    def test_record_before_and_full_measurements(self, tmp_path):
        options = ("--problem=digits", "--optimizer=Adam", "--num_steps=200", "--num_runs=2", "--full_period=100")
        assert scripts.call(evaluate, *options, "--record=before", f"--output_dir={tmp_path}").code == 0
        curves = np.load(tmp_path / "curves.npz")
        losses = curves["digits/Adam"]
        np.testing.assert_allclose(losses[:, 0], np.log(10), atol=0.02)
        np.testing.assert_array_equal(curves["digits/Adam/full_step"], [100, 200])
        assert curves["digits/Adam/full_loss"].shape == curves["digits/Adam/full_accuracy"].shape == (2, 2)
        np.testing.assert_allclose(curves["digits/Adam/full_loss"][:, 1], losses[:, -20:].mean(axis=1), rtol=0.2)

    def test_what_was_released(self, shared_dir, tmp_path):
        files = ",".join(str(shared_dir / "weights" / f"{name}.npz") for name in ("dm", "dm_cl"))
        options = ("--problem=digits", f"--optimizer={files}", "--num_steps=100", "--num_runs=1")
        assert scripts.call(evaluate, *options, f"--output_dir={tmp_path}").code == 0
        curves = np.load(tmp_path / "curves.npz")
        assert set(curves) == {"digits/dm (original)", "digits/dm_cl (original)", "about"}
        assert all(curves[f"digits/{name} (original)"][0, -10:].mean() < 1.5 for name in ("dm", "dm_cl"))

    @pytest.mark.parametrize(
        "arguments",
        ["--problem=simple,digits --split=train", "--data=embedded", "--problem=simple,mnist --data=embedded"],
    )
    def test_data_of_one_problem_of_several(self, arguments):
        values = scripts.flags.FlagValues()
        evaluate.define_flags(values)
        values(["", "--problem=digits", *arguments.split()])
        assert evaluate._problems(values)[-1].data

    @pytest.mark.parametrize(
        ("costs", "ending"),
        [
            ((), " (before training)"),
            (((100, None),), " (before training)"),
            (((0, 0.5), (100, 0.6)), " (before training)"),  # those of --initial_weights
            (((0, 0.5), (100, 0.4)), ""),
            (((100, None), (200, 0.4)), ""),
        ],
    )
    def test_weights_that_no_validation_has_seen(self, tmp_path, caplog, costs, ending):
        optimizer = make_optimizer("L2O-DM", {"layers": [2]})
        validation = [{"epoch": epoch, "stage": 0, "cost": cost} for epoch, cost in costs]
        card = {"optimizer": "L2O-DM", "architecture": optimizer.architecture, "validation": validation}
        saving.save_weights(tmp_path, saving.named_weights(optimizer), card)
        assert comparison.with_cards(str(tmp_path))[0][0].name == f"{tmp_path}{ending}"
        assert ("the weights that its meta-training began with" in caplog.text) == bool(ending)

    def test_the_same_name_twice(self, tmp_path):
        """Files of the original program are all called alike; both curves are kept."""
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            np.savez(tmp_path / name / "dm.npz", **saving.named_weights(make_optimizer("L2O-DM", {"seed": 1})))
        found = comparison.with_cards([f"{tmp_path}/a/dm.npz", f"{tmp_path}/b/dm.npz", "Adam"])
        assert [optimizer.name for optimizer, _ in found] == [f"{tmp_path}/a/dm.npz", f"{tmp_path}/b/dm.npz", "Adam"]


@pytest.fixture
def untraced(monkeypatch):
    """Nothing may be compiled."""

    def rollouts(*args, **kwargs):
        raise AssertionError("an evaluation was begun")

    monkeypatch.setattr("l2o_tf.evaluating.rollouts.rollouts", rollouts)


@pytest.mark.usefixtures("untraced")
class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("--optimizer=Adma", "Received optimizer 'Adma', expected one of .*Did you mean Adam"),
            ("--optimizer=Adam,L2O-XM", "Received optimizer 'L2O-XM', expected one of"),
            ("--optimizer=", "Received no --optimizer"),
            ("--optimizer=runs/\udcff", r"--optimizer='runs/\\udcff', which cannot be printed"),
            ("--optimizer=no/such/run", r"optimizer 'no/such/run', where there is nothing, expected one of [^?]*$"),
            ("--problem=digit", "Received problem 'digit', expected one of .*did you mean digits"),
            ("--problem=", "Received no --problem"),
            ("--problem=digits,", "Received problem ''"),
            ("--num_steps=0", "--num_steps=0"),
            ("--num_runs=-3", "--num_runs=-3"),
            ("--seed=-1", "--seed=-1"),
            ("--seed=abc", "--seed=abc"),
            ("--learning_rate=-0.1", "learning_rate=-0.1, expected a positive number"),
            ("--learning_rate=0", "learning_rate=0.0, expected a positive number"),
            ("--full_period=150", "full_period=150, expected a multiple of 100"),
            ("--problem=digits,simple --full_period=100", "full_period=100, expected 0: simple does not say how"),
            ("--record=during", "--record=during"),
            ("--data=imbedded", "--data=imbedded"),
            ("--split=validation", "--split=validation"),
            (
                "--problem=simple,quadratic --split=held_out",
                "--split=held_out with .*=simple,quadratic, which have no",
            ),
            ("--problem=simple --data=embedded", "--data=embedded with .*=simple, which have no use for it"),
            ("--data=tfds", "--data=tfds with .*=digits, which have no use for it. Drop --data"),
            ("--data_dir=x", "--data_dir=x with .*=digits, which have no use for it"),
            (
                "--problem=mnist --data_dir=x --data=embedded",
                "--data_dir=x with --data=embedded .*=mnist, which have no",
            ),
            ("--problem=simple,digits --split=held_out", "split='held_out' with the data set 'digits'"),
            ("--nope", "Unknown command line flag 'nope'"),
            ("--flagfile=missing.flags", "missing.flags"),
            ("stray", "Received 'stray', which is no flag"),
        ],
    )
    def test_one_line_and_code_2(self, tmp_path, arguments, words):
        common = ("--problem=digits", "--optimizer=Adam", f"--output_dir={tmp_path / 'results'}")
        answer = scripts.refused(evaluate, *common, *arguments.split())
        assert re.search(words, answer), answer

    def test_a_wrong_name_leaves_no_folder(self, tmp_path):
        scripts.refused(evaluate, "--optimizer=Adm", "--problem=digits", f"--output_dir={tmp_path / 'results'}")
        assert not (tmp_path / "results").exists()

    def test_a_learning_rate_that_nobody_takes(self, tmp_path):
        names = f"{save_run(tmp_path / 'run')},Adam:0.3"
        answer = scripts.refused(evaluate, f"--optimizer={names}", "--learning_rate=0.1", f"--output_dir={tmp_path}")
        assert "--learning_rate with" in answer and "none of which takes it" in answer

    def test_an_optimizer_made_for_other_parameters(self, tmp_path):
        """Found before the first problem, which it is made for, has been evaluated."""
        entries = [["x", "L2O-DM", {"layers": [2]}]]
        run = save_run(tmp_path / "run", "assigned", {"assignments": entries})
        options = (f"--optimizer={run}", "--problem=simple,digits", f"--output_dir={tmp_path}")
        assert "'layer_0/w', which matches none of ['x']" in scripts.refused(evaluate, *options)

    @pytest.mark.parametrize("name", ["weights.npz", "optimizer.json"])
    def test_a_run_cut_in_half(self, tmp_path, name):
        file = save_run(tmp_path / "run") / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        answer = scripts.refused(evaluate, f"--optimizer={tmp_path / 'run'}", f"--output_dir={tmp_path}")
        assert name in answer and "damaged" in answer

    def test_nan_in_a_weight_file(self, tmp_path):
        weights = saving.named_weights(make_optimizer("L2O-DM"))
        weights["lstm_2/b_gates"][3] = np.nan
        np.savez(tmp_path / "dm.npz", **weights)
        answer = scripts.refused(evaluate, f"--optimizer={tmp_path / 'dm.npz'}", f"--output_dir={tmp_path}")
        assert "1 of 80 values that are NaN or infinite as lstm_2/b_gates" in answer

    def test_a_weight_file_of_another_architecture(self, tmp_path):
        np.savez(tmp_path / "dm.npz", **saving.named_weights(make_optimizer("L2O-DM", {"layers": [7]})))
        answer = scripts.refused(evaluate, f"--optimizer={tmp_path / 'dm.npz'}", f"--output_dir={tmp_path}")
        assert "fit none of the architectures" in answer

    def test_results_that_cannot_be_written(self, tmp_path, monkeypatch):
        """Said before the evaluation, not after it."""
        (tmp_path / "file").write_text("")
        answer = scripts.refused(evaluate, "--optimizer=Adam", f"--output_dir={tmp_path / 'file'}")
        assert "/file, where no folder can be made (File exists)" in answer
        monkeypatch.setattr("os.access", lambda path, mode: False)
        answer = scripts.refused(evaluate, "--optimizer=Adam", f"--output_dir={tmp_path}")
        assert "which cannot be written" in answer
