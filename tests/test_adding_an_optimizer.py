"""docs/adding-an-optimizer.md does what it says; cells that cannot be used are refused in one line."""

import hashlib
import json
import re
import sys

import pytest

from l2o_tf.cli import evaluate, meta_train
from tests import scripts

PAGE = (scripts.ROOT / "docs" / "adding-an-optimizer.md").read_text()
SCRIPTS = {"meta_train.py": meta_train, "evaluate.py": evaluate}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where everything on the page has been run."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "my_optimizer.py").write_text(blocks("python file=my_optimizer.py")[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        for command in "".join(blocks("sh")).splitlines():
            answer = scripts.call(SCRIPTS[command.split()[1]], *command.split()[2:])
            assert answer.code == 0, answer
        yield folder


def test_the_python_of_the_page_runs(folder, capsys):
    for code in blocks("python"):
        exec(code, {})
    assert capsys.readouterr().out.splitlines() == ["True", "True"]


def test_meta_training_learns(folder):
    card = json.loads((folder / "runs" / "momentum" / "optimizer.json").read_text())
    file = (folder / "my_optimizer.py").read_bytes()
    copy = f"my_optimizer-{hashlib.sha256(file).hexdigest()[:16]}.py"
    assert card["optimizer"] == f"{copy}:Momentum"
    assert card["sources"] == {copy: hashlib.sha256(file).hexdigest()}
    assert (folder / "runs" / "momentum" / copy).read_bytes() == file
    losses = [entry["cost"] for entry in card["validation"]]
    assert losses[-1] < losses[0]
    assert json.loads((folder / "runs" / "momentum-cl-il" / "optimizer.json").read_text())["meta_epochs"] > 0


def test_an_evaluation(folder):
    summary = json.loads((folder / "results" / "momentum" / "summary.json").read_text())
    assert [result["optimizer"] for result in summary["results"]] == ["runs/momentum", "Adam"]
    file = hashlib.sha256((folder / "my_optimizer.py").read_bytes()).hexdigest()[:16]
    files = [result["identity"]["optimizer"]["files"] for result in summary["results"]]
    assert files == [{f"runs/momentum/my_optimizer-{file}.py:Momentum": file}, {}]  # another file is another optimizer


CELLS = """
import keras

class NoState(keras.layers.Layer):
    def call(self, inputs, states): return inputs, states
    def get_config(self): return super().get_config()

class Needs(NoState):
    def __init__(self, units): super().__init__()
    def get_initial_state(self, batch_size=None): return []

class Mistyped(NoState):
    def get_initial_state(self, batch_size=None): return [self.missing]

def function(): pass
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cells.py", "names nothing in the file, expected path/to/file.py:Class"),
        ("sells.py:NoState", "but there is no file"),
        ("cells.py:function", "with one of ['NoState', 'Needs', 'Mistyped']"),
        ("cells.py:NoState", "a layer without ['get_initial_state']"),
        ("cells.py:Needs", "whose constructor needs ['units']"),
        (
            "cells.py:Mistyped",
            "AttributeError: 'Mistyped' object has no attribute 'missing' (cells.py, line 13)",
        ),
    ],
)
def test_what_is_no_cell_is_refused(name, message, tmp_path, monkeypatch):
    (tmp_path / "cells.py").write_text(CELLS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert message in scripts.refused(meta_train, f"--optimizer={name}", "--problem=quadratic")


def test_arguments_that_it_does_not_take_are_refused(folder):
    options = ("--optimizer=my_optimizer.py:Momentum", "--problem=quadratic", "--architecture=layers=10")
    assert "expected no argument" in scripts.refused(meta_train, *options)
