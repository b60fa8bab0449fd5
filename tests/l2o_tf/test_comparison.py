"""`l2o_tf.evaluate`: optimizers in memory or by name, on problems in memory or by name, with results to look at."""

import doctest

import numpy as np
import pytest

import l2o_tf
from l2o_tf import saving
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


def test_a_folder_keeps_what_is_done(tmp_path):
    """Of optimizers in memory, too: the same weights are the same optimizer."""
    first = l2o_tf.evaluate(student(), "simple", folder=tmp_path, **SHORT)
    both = l2o_tf.evaluate([student(), "Adam"], "simple", folder=str(tmp_path), **SHORT)
    assert list(both.losses) == [("simple", "mine"), ("simple", "Adam")]
    assert both.all[0].provenance == first.all[0].provenance
    assert list(l2o_tf.Results.read(tmp_path).losses) == list(both.losses)
    with pytest.raises(ValueError, match=r"results of another optimizer called mine \(.*weights: "):
        l2o_tf.evaluate(student(seed=2), "simple", folder=tmp_path, **SHORT)


def test_a_kill_loses_one_pair(tmp_path, monkeypatch):
    """The files of pairs have all that `curves.npz` has, with the measurements."""
    options = {"num_steps": 100, "num_runs": 2, "full_period": 100, "folder": tmp_path}
    really, begun = rollouts.run, []

    def run(problem, *args, **given):
        begun.append(problem.name)
        if begun.count("mnist_relu") == 1:
            raise KeyboardInterrupt
        return really(problem, *args, **given)

    digits = make_problem("digits")
    problems = [digits, digits._replace(name="mnist_relu")]
    monkeypatch.setattr(rollouts, "run", run)
    with pytest.raises(KeyboardInterrupt):
        l2o_tf.evaluate("Adam", problems, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["digits--Adam.pair.npz"]
    found = l2o_tf.evaluate("Adam", problems, **options)
    assert begun == ["digits", "mnist_relu", "mnist_relu"]
    assert {path.name for path in tmp_path.iterdir()} == {results.CURVES, results.SUMMARY}
    for result in found:
        assert result.full["loss"].shape == (2, 1) and result.losses.shape == (2, 100)


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


def test_progress_is_closed_where_a_run_fails(monkeypatch):
    closed = []
    monkeypatch.setattr(comparison.Progress, "close", lambda self: closed.append(self))
    monkeypatch.setattr(rollouts, "run", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        l2o_tf.evaluate("Adam", "simple", **SHORT)
    assert len(closed) == 1


@pytest.mark.parametrize("described", [l2o_tf.evaluate, l2o_tf.Results], ids=["evaluate", "Results"])
def test_the_examples_of_the_docstrings(described, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in finder.find(described, "example", globs={"l2o_tf": l2o_tf}):
        assert runner.run(example).failed == 0, capsys.readouterr().out
    assert runner.summarize().attempted > 2
