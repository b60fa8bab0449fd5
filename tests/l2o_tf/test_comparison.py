"""`l2o_tf.evaluate`: optimizers in memory or by name, on problems in memory or by name, with results to look at."""

import numpy as np
import pytest

import l2o_tf
from l2o_tf import saving
from l2o_tf.common import devices
from l2o_tf.evaluating import comparison, results, rollouts
from l2o_tf.optimizers import Optimizer, make_optimizer
from problems import make_problem
from problems.base import make_seed
from tests.l2o_tf import tiny

SHORT = {"num_steps": 20, "num_runs": 2}


def student(name="mine", **architecture):
    found = make_optimizer("L2O-DM", {"layers": [2], "seed": 1, **architecture})
    found.name = name
    return found


@pytest.fixture
def untraced(monkeypatch):
    """Nothing may be compiled."""

    def rollouts_(*args, **options):
        raise AssertionError("an evaluation was begun")

    monkeypatch.setattr(rollouts, "rollouts", rollouts_)


def test_in_memory_and_by_name():
    problem, mine = tiny.perceptron(4), student()
    found = l2o_tf.evaluate([mine, "Adam:0.1"], [problem, "simple"], seed=3, **SHORT)
    assert (
        [result.names for result in found]
        == list(found.losses)
        == [
            *((problem.name, "mine"), (problem.name, "Adam 0.1"), ("simple", "mine"), ("simple", "Adam 0.1")),
        ]
    )
    expected = rollouts.run(problem, mine, make_seed(3), **SHORT)
    np.testing.assert_array_equal(found.losses[problem.name, "mine"], expected.losses)
    assert found.table().count("\nmine ") == 2 and mine.name == "mine"


def test_one_of_each():
    found = l2o_tf.evaluate("SGD:0.1", make_problem("simple"), num_steps=3, num_runs=1)
    np.testing.assert_allclose(found.losses["simple", "SGD 0.1"], [0.8 ** (2 * np.arange(1, 4))], rtol=1e-5)


class Halving(Optimizer):
    """A rule of a user's own, which has nothing that it needs not have."""

    def initial_state(self, params, seed):
        return ()

    def update(self, step, state):
        return {name: -0.5 * value for name, value in step.params.items()}, state


def test_a_rule_of_ones_own(tmp_path):
    found = l2o_tf.evaluate(Halving(), "simple", num_steps=3, num_runs=1, folder=tmp_path)
    np.testing.assert_allclose(found.losses["simple", "Halving"], [0.25 ** np.arange(1, 4)])
    assert repr(found) == found.table() and "\nHalving " in found.table()


def test_a_folder_of_a_meta_training(tmp_path):
    mine = student()
    card = {"optimizer": "L2O-DM", "architecture": mine.architecture}
    saving.save_weights(tmp_path / "run", saving.named_weights(mine), card)
    found = l2o_tf.evaluate([mine, tmp_path / "run"], "simple", **SHORT)
    np.testing.assert_array_equal(*found.losses.values())


def test_measurements_over_the_whole_data_set():
    found = l2o_tf.evaluate("Adam", "digits", num_steps=100, num_runs=2, full_period=100, record="before")
    assert found.all[0].full["loss"].shape == (2, 1)
    np.testing.assert_allclose(found.losses["digits", "Adam"][:, 0], np.log(10), atol=0.02)


def test_a_problem_of_the_same_name_is_another_one(tmp_path):
    l2o_tf.evaluate("SGD", "quadratic", folder=tmp_path, **SHORT)
    with pytest.raises(ValueError, match=r"results of another problem called quadratic \(start: "):
        l2o_tf.evaluate("SGD", make_problem("quadratic", batch_size=3), folder=tmp_path, **SHORT)


def test_a_folder_keeps_what_is_done(tmp_path):
    """Of optimizers in memory, too: the same weights are the same optimizer."""
    first = l2o_tf.evaluate(student(), "simple", folder=tmp_path, **SHORT)
    both = l2o_tf.evaluate([student(), "Adam"], "simple", folder=str(tmp_path), **SHORT)
    assert list(both.losses) == [("simple", "mine"), ("simple", "Adam")]
    assert both.all[0].provenance == first.all[0].provenance
    assert list(l2o_tf.Results.read(tmp_path).losses) == list(both.losses)
    with pytest.raises(ValueError, match=r"results of another optimizer called mine \(.*weights: "):
        l2o_tf.evaluate(student(seed=2), "simple", folder=tmp_path, **SHORT)


class Begun(list):
    """`(problem, index of the first run)` of each call of `rollouts.run`; Ctrl-C where that is `cut`."""

    cut = None


@pytest.fixture
def begun(monkeypatch):
    """What is run from now on, one run at a time."""
    really, begun = rollouts.run, Begun()

    def run(problem, *args, first_run, **options):
        begun.append((problem.name, first_run))
        if begun[-1] == begun.cut:
            begun.cut = None
            raise KeyboardInterrupt
        return really(problem, *args, first_run=first_run, **options)

    monkeypatch.setattr(rollouts, "run", run)
    monkeypatch.setattr(devices, "cores", lambda: 1)
    monkeypatch.setattr(comparison, "LEAST_STEPS", 1)
    monkeypatch.setattr(comparison, "SECONDS", 0.0)
    return begun


def test_a_kill_loses_the_runs_that_it_was_at(tmp_path, begun):
    """And ends as if nothing had been."""
    options = {"num_steps": 100, "num_runs": 3, "full_period": 100}
    problems = ["digits", make_problem("digits")._replace(name="again")]
    whole = l2o_tf.evaluate("Adam", problems, **options)
    begun.clear()
    begun.cut = ("again", 1)
    with pytest.raises(KeyboardInterrupt):
        l2o_tf.evaluate("Adam", problems, folder=tmp_path, **options)
    assert {path.name for path in tmp_path.iterdir()} == {"digits--Adam.pair.npz", "again--Adam.pair.npz"}
    so_far = l2o_tf.Results.read(tmp_path)
    assert [len(result.losses) for result in so_far] == [3, 1] and "over 1 runs" in so_far.table()
    assert [result.problem for result in so_far.complete] == ["digits"]
    begun.clear()
    found = l2o_tf.evaluate("Adam", problems, folder=tmp_path, **options)
    assert begun == [("again", 1), ("again", 2)]
    assert {path.name for path in tmp_path.iterdir()} == {results.CURVES, results.SUMMARY}
    for one, other, read in zip(found, whole, l2o_tf.Results.read(tmp_path), strict=True):
        for again in (one, read):
            np.testing.assert_array_equal(again.losses, other.losses)
            for name, values in other.full.items():
                np.testing.assert_array_equal(again.full[name], values)
        assert one.summary["runs"] == 3 and one.summary["at"][-1]["mean"] == other.summary["at"][-1]["mean"]


def test_another_call_leaves_what_is_begun(tmp_path, begun):
    begun.cut = ("simple", 1)
    with pytest.raises(KeyboardInterrupt):
        l2o_tf.evaluate("Adam", "simple", folder=tmp_path, **SHORT)
    found = l2o_tf.evaluate("SGD", "simple", folder=tmp_path, **SHORT)
    assert [len(result.losses) for result in found] == [1, 2]
    with np.load(tmp_path / results.CURVES) as file:
        assert set(file.files) == {"about", "simple/SGD"}
    begun.clear()
    found = l2o_tf.evaluate("Adam", "simple", folder=tmp_path, **SHORT)
    assert begun == [("simple", 1)] and len(found.complete) == 2
    assert not list(tmp_path.glob("*.pair.npz"))


def test_short_runs_follow_each_other_and_files_are_written_now_and_then(tmp_path, begun, monkeypatch):
    written = []
    monkeypatch.setattr(results, "write_pair", lambda folder, settings, result: written.append(len(result.losses)))
    monkeypatch.setattr(comparison, "LEAST_STEPS", 40)
    options = {"num_steps": 20, "num_runs": 5, "folder": tmp_path}
    l2o_tf.evaluate("Adam", "simple", **options)
    assert begun == [("simple", 0), ("simple", 2), ("simple", 4)] and written == [2, 4, 5]
    (tmp_path / results.CURVES).unlink()
    (tmp_path / results.SUMMARY).unlink()
    monkeypatch.setattr(comparison, "SECONDS", 60.0)
    l2o_tf.evaluate("Adam", "simple", **options)
    assert written[3:] == [5]


@pytest.mark.parametrize("what", ["program", "number of runs side by side"])
def test_what_does_not_fit_is_begun_anew(tmp_path, begun, monkeypatch, what):
    begun.cut = ("simple", 1)
    options = {"num_steps": 20, "num_runs": 4, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        l2o_tf.evaluate("Adam", "simple", **options)
    begun.clear()
    if what == "program":
        monkeypatch.setattr(comparison, "provenance", lambda: {"date": "now", "commit": "another"})
    else:
        options["side_by_side"] = 2
    assert len(l2o_tf.evaluate("Adam", "simple", **options).complete) == 1 and begun[0] == ("simple", 0)


def test_results_are_saved_once(tmp_path):
    found = l2o_tf.evaluate("Adam", "simple", **SHORT)
    found.save(tmp_path / "new")
    loaded = l2o_tf.Results.read(tmp_path / "new")
    np.testing.assert_array_equal(loaded.losses["simple", "Adam"], found.losses["simple", "Adam"])
    assert loaded.table() == found.table() and loaded.settings == found.settings
    with pytest.raises(ValueError, match="which has results of Adam on simple. Use another folder"):
        found.save(tmp_path / "new")
    l2o_tf.evaluate("SGD", "simple", **SHORT).save(tmp_path / "new")
    assert len(l2o_tf.Results.read(tmp_path / "new")) == 2
    with pytest.raises(ValueError, match=r"other options \(num_runs: 2 there, 1 now\)"):
        l2o_tf.evaluate("SGD", "quadratic", num_steps=20, num_runs=1).save(tmp_path / "new")


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("new/a.svg", b"<?xml")])
def test_a_picture(tmp_path, name, start):
    found = l2o_tf.evaluate("Adam", "simple", **SHORT)
    figure = found.plot(tmp_path / name, x_scale="log")
    assert (tmp_path / name).read_bytes().startswith(start) and figure.axes[0].get_xscale() == "log"


def test_only_problems_that_ship_have_ten_classes():
    info = make_problem("digits").data
    found = l2o_tf.evaluate("Adam", ["digits", tiny.perceptron()._replace(data=info)], num_steps=2, num_runs=1)
    assert [result.guess for result in found] == [pytest.approx(np.log(10)), None]
    assert [result.identity["problem"]["file"] for result in found] == [None, "in memory"]


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(
    ("optimizers", "problems", "options", "words"),
    [
        ("Adma", "simple", {}, "Received optimizer 'Adma', expected one of .* Did you mean Adam"),
        ([], "simple", {}, r"Received optimizers of types \[\], expected names or Optimizers, at least one"),
        (3, "simple", {}, r"Received optimizers of types \['int'\]"),
        (["Adam", None], "simple", {}, r"Received optimizers of types \['str', 'NoneType'\]"),
        (["Adam", "Adam"], "simple", {}, "Received two optimizers called 'Adam', expected different names"),
        ([student(), student()], "simple", {}, "Received two optimizers called 'mine'"),
        ("Adam", ["simple", "simple"], {}, "Received two problems called 'simple'"),
        ("Adam", "smple", {}, "Received problem 'smple', expected one of .*did you mean simple"),
        ("Adam", (), {}, r"Received problems of types \[\], expected names or Problems"),
        ("Adam", ["simple"], {"num_runs": "2"}, "Received num_runs='2', expected a positive integer"),
        ("Adam", ["simple"], {"num_steps": 0}, "Received num_steps=0, expected a positive integer"),
        ("Adam", ["simple"], {"record": "both"}, "Received record='both', expected 'after' or 'before'"),
        ("Adam", ["simple"], {"seed": 1.5}, "Received seed=1.5, expected an integer"),
        ("Adam", ["simple"], {"side_by_side": 3}, "Received side_by_side=3, expected a divisor of num_runs=10"),
        ("Adam", ["simple"], {"full_period": 50}, "Received full_period=50, expected a multiple of 100"),
        ("Adam", ["digits", "simple"], {"full_period": 100}, "expected 0: simple does not say how"),
    ],
)
def test_bad_input(optimizers, problems, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        l2o_tf.evaluate(optimizers, problems, **options)
    assert "\n" not in str(caught.value)


def test_progress_is_shown_and_closed_where_a_run_fails(monkeypatch, capsys):
    really = rollouts.run
    monkeypatch.setattr(rollouts, "run", lambda *args, **options: really(*args, **options) and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        l2o_tf.evaluate("Adam", "simple", **SHORT)
    assert "simple: Adam: step 40/40 (100%), loss " in capsys.readouterr().err
