"""A folder takes one evaluation after the other: what is there is kept, what is missing is run, the rest is refused."""

import json
import os
import shutil

import numpy as np
import pytest

from l2o_tf import saving
from l2o_tf.cli import evaluate
from l2o_tf.common.writing import write_atomically
from l2o_tf.evaluating import comparison, results, rollouts
from l2o_tf.evaluating.results import Results
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving.loading import load_optimizer
from problems import make_problem
from tests import scripts

OPTIONS = ("--num_steps=200", "--num_runs=2")
BOTH = ("--optimizer=Adam,SGD", "--problem=simple,digits", *OPTIONS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert scripts.call(evaluate, *BOTH, f"--output_dir={folder}").code == 0
    return folder


def noted(patch, cut_at=None):
    """A list of what is evaluated from now on; Ctrl-C when it is so long."""
    begun, really = [], rollouts.run

    def run(problem, optimizer, *args, **options):
        begun.extend([f"{problem.name}/{optimizer.name}"] if not options["first_run"] else [])
        if len(begun) == cut_at:
            raise KeyboardInterrupt
        return really(problem, optimizer, *args, **options)

    patch.setattr(rollouts, "run", run)
    return begun


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """The folder after Ctrl-C in the third of four evaluations."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        begun = noted(patch, cut_at=3)
        call = scripts.call(evaluate, *BOTH, f"--output_dir={folder}")
    assert call.code == 130
    assert begun[2:] == ["digits/Adam"]
    return folder


@pytest.fixture
def begun(monkeypatch):
    """What is evaluated from now on."""
    return noted(monkeypatch)


@pytest.fixture
def cut(cut_off, tmp_path):
    return shutil.copytree(cut_off, tmp_path / "cut")


@pytest.fixture
def done(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "done")


def curves(folder):
    """All of a folder, as users read them."""
    found = {}
    for path in (folder / "curves.npz", *folder.glob("*.pair.npz")):
        if path.exists():
            with np.load(path) as file:
                found |= {name: file[name] for name in file.files if name != "about"}
    return found


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_done_before_a_cut_is_there(cut, whole):
    """A file for each pair, which the next command, or none, puts into the one for all."""
    assert {path.name for path in cut.iterdir()} == {"simple--Adam.pair.npz", "simple--SGD.pair.npz"}
    assert Results.read(cut).losses.keys() == {("simple", "Adam"), ("simple", "SGD")}
    assert curves(cut).keys() == {"simple/Adam", "simple/SGD"}
    np.testing.assert_array_equal(curves(cut)["simple/SGD"], curves(whole)["simple/SGD"])


def test_the_same_command_does_the_rest(cut, begun, whole):
    again = scripts.call(evaluate, *BOTH, f"--output_dir={cut}")
    assert again.code == 0 and f"Results that {cut} has: 2. Evaluations to do: 2 of 4." in again.err
    assert begun == ["digits/Adam", "digits/SGD"]
    assert curves(cut).keys() == curves(whole).keys()
    assert not list(cut.glob("*.pair.npz"))
    for name, losses in curves(cut).items():
        np.testing.assert_array_equal(losses, curves(whole)[name])


def test_another_command_adds_its_part(cut, begun):
    """One folder, one table, one picture; what is there of both needs no second run."""
    (cut / "curves.png").unlink(missing_ok=True)
    again = scripts.call(evaluate, "--optimizer=SGD", "--problem=simple,digits", *OPTIONS, f"--output_dir={cut}")
    assert again.code == 0 and begun == ["digits/SGD"]
    assert curves(cut).keys() == {"simple/Adam", "simple/SGD", "digits/SGD"}
    summary = json.loads((cut / "summary.json").read_text())["results"]
    assert [(entry["problem"], entry["optimizer"]) for entry in summary] == [
        *(("simple", "Adam"), ("simple", "SGD"), ("digits", "SGD")),
    ]
    assert again.out.count("\nSGD ") == 2 and again.out.count("\nAdam ") == 1
    assert (cut / "curves.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--seed=3", "an evaluation with other options (seed: 0 there, 3 now). Use the same ones to add to it"),
        ("--num_runs=4", "(num_runs: 2 there, 4 now)"),
        ("--num_steps=100", "(num_steps: 200 there, 100 now)"),
        ("--record=before", "(record: after there, before now)"),
        ("--optimizer=Adam --learning_rate=0.5", "another optimizer called Adam (architecture: {} there, {'learning_r"),
        ("--optimizer=Adagrad --problem=digits --split=train", "another problem called digits (data: digits/test ("),
    ],
)
def test_what_contradicts_is_refused(done, begun, arguments, words):
    before = contents(done)
    answer = scripts.refused(evaluate, *BOTH, *arguments.split(), f"--output_dir={done}")
    assert words in answer and "or remove curves.npz, summary.json, curves.png and *.pair.npz from it" in answer
    assert contents(done) == before and not begun


def test_an_optimizer_is_its_weights(tmp_path):
    """Neither its name nor the day when it was written; and a file of the user's own is what is in it."""
    problem = make_problem("simple", mode="test")

    def identity(seed, **card):
        optimizer = make_optimizer("L2O-DM", {"layers": [2], "seed": seed})
        described = {"optimizer": "L2O-DM", "architecture": {"layers": [2]}, **card}
        saving.save_weights(tmp_path / "run", saving.named_weights(optimizer), described)
        return comparison.Pair(problem, *load_optimizer(str(tmp_path / "run"))).identity

    assert identity(1) == identity(1, meta_epochs=7) != identity(2)

    def imported(seed):
        np.savez(tmp_path / "dm.npz", **saving.named_weights(make_optimizer("L2O-DM", {"seed": seed})))
        return comparison.Pair(problem, *load_optimizer(str(tmp_path / "dm.npz"))).identity

    assert imported(1) == imported(1) != imported(2)

    def edited(text):
        (tmp_path / "own.py").write_text(text)
        own = problem._replace(name=f"{tmp_path}/own.py:f")
        return comparison.Pair(own, *load_optimizer("Adam")).identity

    assert edited("1")["problem"] != edited("2")["problem"]


@pytest.mark.parametrize("role", ["problem", "optimizer"])
def test_another_of_the_same_name_is_refused_on_any_partner(done, role):
    found = Results.read(done)
    asked = {**found.all[0].identity, role: {**found.all[0].identity[role], "file": "0123"}}
    names = {"problem": "simple", "optimizer": "Adam"} | {"optimizer" if role == "problem" else "problem": "new"}
    with pytest.raises(ValueError, match=rf"another {role} called {names[role]} \(file: nothing there, 0123 now\)"):
        results.check_fit(done, found, found.settings, {tuple(names.values()): asked})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("curves.npz", lambda data: data[:-100]),
        ("curves.npz", lambda data: data[:200] + bytes(100) + data[300:]),
        ("curves.npz", lambda data: None),
        ("curves.npz", lambda data: b"PK"),
        ("simple--New.pair.npz", lambda data: b"PK"),
        ("simple--New.pair.npz", lambda data: np.zeros(3).tobytes()),
    ],
)
def test_what_is_damaged_or_foreign_stays(done, begun, name, content):
    changed = content((done / name).read_bytes() if (done / name).exists() else b"")
    (done / name).unlink() if changed is None else (done / name).write_bytes(changed)
    before = contents(done)
    answer = scripts.refused(evaluate, *BOTH, f"--output_dir={done}")
    assert "damaged or not of an evaluation" in answer and contents(done) == before and not begun


def edited(folder, edit):
    """Writes the file of results again, after `edit(arrays, its first entry)`."""
    with np.load(folder / "curves.npz") as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"]))
    edit(arrays, about["results"][0])
    np.savez(folder / "curves.npz", **{"about": json.dumps(about), **{k: v for k, v in arrays.items() if k != "about"}})


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda arrays, entry: entry.update(identity={}), "KeyError"),
        (lambda arrays, entry: entry.update(identity=None), "TypeError"),
        (lambda arrays, entry: entry.update(summary={}), "KeyError"),
        (lambda arrays, entry: entry.update(card=[]), "is not described"),
        (lambda arrays, entry: arrays.update({"simple/Adam": np.full([2, 200], "a")}), "are <U1 [2, 200], expected"),
        (
            lambda arrays, entry: arrays.update({"simple/Adam": np.zeros([2, 3], "f")}),
            "[2, 3], expected float32",
        ),
        (lambda arrays, entry: arrays.update({"simple/Adam/full_loss": np.zeros([2, 3], "f")}), "KeyError"),
        (lambda arrays, entry: entry.update(card=json.loads(f'{{"a": {"[" * 200}{"]" * 200}}}')), "deeper than 100"),
    ],
)
def test_what_is_read_is_checked(done, edit, words):
    edited(done, edit)
    with pytest.raises(ValueError, match="damaged or not of an evaluation") as caught:
        Results.read(done)
    assert words in str(caught.value)


def test_only_files_of_a_bounded_size_are_read(done):
    os.truncate(done / "curves.npz", 60 * 10**9)  # sparse
    with pytest.raises(ValueError, match="60,000,000,000 bytes, expected at most"):
        Results.read(done)
    (done / "curves.npz").unlink()
    os.mkfifo(done / "curves.npz")
    with pytest.raises(ValueError, match="expected a regular file"):
        Results.read(done)


@pytest.mark.parametrize("name", [results.SUMMARY, results.CURVES])
def test_a_kill_between_the_files_loses_nothing(cut, begun, monkeypatch, name):
    really = results.write_atomically

    def write(path, data):
        if path.name == name:
            raise KeyboardInterrupt
        really(path, data)

    command = ("--optimizer=SGD", "--problem=digits", *OPTIONS, f"--output_dir={cut}")
    monkeypatch.setattr(results, "write_atomically", write)
    assert scripts.call(evaluate, *command).code == 130
    monkeypatch.setattr(results, "write_atomically", really)
    assert scripts.call(evaluate, *command).code == 0
    assert begun == ["digits/SGD"]
    assert len(json.loads((cut / "summary.json").read_text())["results"]) == len(curves(cut)) == 3
    assert not list(cut.glob("*.pair.npz"))


def test_a_pair_of_another_evaluation_is_refused(cut, done):
    """Say, copied from there."""
    settings = {**Results.read(done).settings, "seed": 7}
    results.write_pair(cut, settings, Results.read(done).all[3])
    with pytest.raises(ValueError, match=r"pair.npz, .* does not fit the other results: seed: 0 there, 7 now"):
        Results.read(cut)


def test_a_picture_is_drawn_again_from_the_curves_alone(done, begun):
    for path in (done / "summary.json", done / "curves.png"):
        path.unlink()
    before = (done / "curves.npz").read_bytes()
    again = scripts.call(evaluate, "--plot_only", "--x_scale=log", f"--output_dir={done}")
    assert again.code == 0 and not begun and again.out.count("\nAdam ") == 2
    assert (done / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (done / "curves.npz").read_bytes() == before


def test_a_picture_of_nothing_or_with_other_flags_is_refused(tmp_path):
    answer = scripts.refused(evaluate, "--plot_only", f"--output_dir={tmp_path / 'none'}")
    assert "expected a folder with curves.npz" in answer and not (tmp_path / "none").exists()
    answer = scripts.refused(evaluate, "--plot_only", "--num_steps=3", "--seed=1", f"--output_dir={tmp_path}")
    assert "--plot_only with --num_steps, --seed, which it has no use for" in answer


def test_file_names_have_a_bounded_length(tmp_path):
    """In bytes, and still different; a short name is left as it is."""
    names = [results.file_name(f"{'ä' * 200}/p.py:f", f"runs/{'x' * 300}{end}", results.PAIR) for end in "ab"]
    assert names[0] != names[1]
    for name in names:
        write_atomically(tmp_path / name, b"")
        assert len(os.fsencode(name)) < 200
    assert results.file_name("some/file.py:model", "runs/a b", ".json") == "some_file.py:model--runs_a_b.json"
