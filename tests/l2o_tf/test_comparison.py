"""A comparison that is cut off keeps what was done, and the same command does the rest."""

import json
import shutil

import numpy as np
import pytest

import evaluate
from l2o_tf import comparison, evaluation
from l2o_tf.trained import load_optimizer
from problems import make_problem
from tests import scripts

OPTIONS = ("--problem=simple,digits", "--num_steps=200", "--num_runs=2", "--full_period=0")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert scripts.call(evaluate, "--optimizer=Adam,SGD", *OPTIONS, f"--output_dir={folder}").code == 0
    return dict(np.load(folder / "curves.npz"))


def noted(patch, cut_at=None):
    """A list of what is evaluated from now on; Ctrl-C when it is so long."""
    begun, really = [], evaluation.evaluate

    def evaluate_(problem, optimizer, *args, **options):
        begun.append(f"{problem.name}/{optimizer.name}")
        if len(begun) == cut_at:
            raise KeyboardInterrupt
        return really(problem, optimizer, *args, **options)

    patch.setattr(evaluation, "evaluate", evaluate_)
    return begun


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """The folder after Ctrl-C in the third of four evaluations."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        begun = noted(patch, cut_at=3)
        call = scripts.call(evaluate, "--optimizer=Adam,SGD", *OPTIONS, f"--output_dir={folder}")
    assert call.code == 130
    assert begun[2:] == ["digits/Adam"]
    return folder


@pytest.fixture
def cut(cut_off, tmp_path, monkeypatch):
    """A copy of that folder, and what is evaluated from now on."""
    return shutil.copytree(cut_off, tmp_path / "cut"), noted(monkeypatch)


def test_what_was_done_is_there(cut, uninterrupted):
    folder, _ = cut
    record, curves = json.loads((folder / "summary.json").read_text()), np.load(folder / "curves.npz")
    assert record["complete"] is False and len(record["results"]) == 2
    assert set(curves) == {"simple/Adam", "simple/SGD", "simple/data"}
    np.testing.assert_array_equal(curves["simple/SGD"], uninterrupted["simple/SGD"])


def test_the_same_command_does_the_rest(cut, uninterrupted):
    folder, begun = cut
    again = scripts.call(evaluate, "--optimizer=Adam,SGD", *OPTIONS, f"--output_dir={folder}")
    assert again.code == 0 and "Continuing: 2 of 4 evaluations are done." in again.err
    assert begun == ["digits/Adam", "digits/SGD"]
    curves, record = dict(np.load(folder / "curves.npz")), json.loads((folder / "summary.json").read_text())
    assert record["complete"] is True and len(record["results"]) == 4 and curves.keys() == uninterrupted.keys()
    for name, losses in curves.items():
        np.testing.assert_array_equal(losses, uninterrupted[name])
    assert again.out.index("SGD") > again.out.index("Adam")


def test_other_settings_or_weights_begin_anew(cut):
    folder, _ = cut
    settings = json.loads((folder / "summary.json").read_text())["flags"]
    assert len(comparison.unfinished(folder, settings)) == 2
    with pytest.raises(ValueError, match=r"unfinished evaluation with other options \(seed: 0 there, 1 now\)"):
        comparison.unfinished(folder, settings | {"seed": 1})
    assert comparison.unfinished(folder, settings | {"files": {"a.py:f": "0"}}) == []
    result = comparison.unfinished(folder, settings)[0]
    optimizer, card = load_optimizer("Adam")
    pair = comparison.Pair(make_problem("simple", mode="test"), optimizer, card)
    assert result.is_of(pair) and not result.is_of(pair._replace(card={**card, "weights": "others"}))


def test_what_would_be_lost_is_not_replaced(cut):
    folder, _ = cut
    before = (folder / "summary.json").read_bytes()
    answer = scripts.refused(evaluate, "--optimizer=Adagrad", *OPTIONS, f"--output_dir={folder}")
    assert "an unfinished evaluation of simple/Adam, simple/SGD. Use the same command" in answer
    assert "(seed: 0 there, 3 now)" in scripts.refused(
        evaluate, "--optimizer=Adam,SGD", *OPTIONS, "--seed=3", f"--output_dir={folder}"
    )
    assert (folder / "summary.json").read_bytes() == before


def test_a_finished_or_damaged_one_is_not_continued(cut):
    folder, _ = cut
    settings = json.loads((folder / "summary.json").read_text())["flags"]
    (folder / "curves.npz").write_bytes((folder / "curves.npz").read_bytes()[:100])
    assert comparison.unfinished(folder, settings) == []
    (folder / "summary.json").write_text('{"complete": true}')
    assert comparison.unfinished(folder, settings) == []


def test_curves_of_another_comparison_are_not_taken(cut, monkeypatch):
    """Killed between the two files: the curves are new, the summary is that of before."""
    folder, _ = cut
    settings = json.loads((folder / "summary.json").read_text())["flags"]
    results = comparison.unfinished(folder, settings)
    really = comparison.write_atomically

    def write(path, data):
        if path.name == comparison.SUMMARY:
            raise KeyboardInterrupt
        really(path, data)

    monkeypatch.setattr(comparison, "write_atomically", write)
    with pytest.raises(KeyboardInterrupt):
        others = [result._replace(losses=result.losses + 1) for result in results]
        comparison.save(folder, others, settings | {"seed": 1}, complete=False)
    assert results and comparison.unfinished(folder, settings) == []


def test_a_smaller_comparison_that_lacks_nothing_is_complete(cut):
    folder, begun = cut
    options = (*OPTIONS[1:], "--problem=simple")
    assert scripts.call(evaluate, "--optimizer=Adam", *options, f"--output_dir={folder}").code == 0
    record = json.loads((folder / "summary.json").read_text())
    assert record["complete"] is True and len(record["results"]) == 1 and begun == []
    assert set(np.load(folder / "curves.npz")) == {"simple/Adam", "simple/data"}
