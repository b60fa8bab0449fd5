"""docs/adding-a-problem.md does what it says, and the examples are what it says they are."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf.cli import evaluate, meta_train
from l2o_tf.unrolling import unroll
from problems import make_problem
from problems.base import make_seed
from tests import contracts, scripts

PAGE = (scripts.ROOT / "docs" / "adding-a-problem.md").read_text()
EXAMPLES = "examples/keras_problems.py"
SCRIPTS = {"meta_train.py": meta_train, "evaluate.py": evaluate}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, names = blocks("python"), {}
    assert len(found) == 4
    for code in found:
        exec(code, names)
    final = [losses[:, -20:].mean() for losses in names["found"].losses.values()]
    assert max(final) < 0.6 and len(final) == 2 and (tmp_path / "quadrants.png").exists()
    contracts.check_runs(l2o_tf.load("Adam"), names["saddle_with_walls"]())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands of the page have been run, and what they answered."""
    folder, answers = tmp_path_factory.mktemp("page"), []
    (file,) = re.findall(r"^```python file=(\S+)\n", PAGE, re.MULTILINE)
    (folder / file).write_text(blocks("python file=[^\n]*")[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        for command in "".join(blocks("sh")).splitlines():
            python, script, *arguments = shlex.split(command)
            assert python == "python"
            answers.append(scripts.call(SCRIPTS[script], *arguments))
    return folder, answers


class TestCommands:
    def test_all_are_well(self, folder):
        assert [answer.code for answer in folder[1]] == [0, 0, 0], folder[1]

    def test_a_meta_training(self, folder):
        card = json.loads((folder[0] / "runs" / "spirals" / "optimizer.json").read_text())
        assert card["config"]["problem"] == "my_problems.py:spirals"
        assert card["data"]["name"] == "spirals" and card["data"]["size"] == 2000
        assert card["meta_epochs"] == 2 and card["diverged_meta_epochs"] == 0

    def test_an_evaluation(self, folder):
        curves = np.load(folder[0] / "results" / "spirals" / "curves.npz")
        assert set(curves) == {"about", *(f"my_problems.py:spirals/{name}" for name in ("runs/spirals", "Adam"))}
        losses = curves["my_problems.py:spirals/Adam"]
        assert losses.shape == (3, 200) and len(set(losses[:, 0])) == 3
        assert losses[:, -20:].mean() < losses[:, 0].mean()
        made_of = json.loads((folder[0] / "results" / "spirals" / "summary.json").read_text())["results"][0][
            "identity"
        ]["problem"]
        assert made_of["data"].startswith("spirals/test (2,000 examples") and re.fullmatch(
            "[0-9a-f]{16}", made_of["file"]
        )

    def test_frozen_and_assigned(self, folder):
        card = json.loads((folder[0] / "runs" / "split" / "optimizer.json").read_text())
        assert [[pattern, kind] for pattern, kind, _ in card["architecture"]["assignments"]] == [
            *(["hidden/*", "L2O-DM"], ["*/bias", "frozen"], ["*", "adam"])
        ]

    def test_a_changed_file_is_warned_of(self, folder, monkeypatch):
        """With the same options the run goes on; with another pattern that takes nothing, it does not begin."""
        given = []
        monkeypatch.setattr(
            "l2o_tf.training.run_folder.logging.warning", lambda form, *values: given.append(form % values)
        )
        monkeypatch.chdir(folder[0])
        command = "".join(blocks("sh")).splitlines()[0].split()[2:]
        assert scripts.call(meta_train, *command).code == 0
        assert not given
        file = Path("my_problems.py")
        before = file.read_text()
        file.write_text(before + "# changed\n")
        assert scripts.call(meta_train, *command).code == 0
        file.write_text(before)
        assert ["my_problems.py:spirals has changed" in each for each in given] == [True]
        options = ("--net_assignments=hidde/*=L2O-DM,*=adam", "--output_dir=other")
        answer = scripts.refused(meta_train, "--problem=my_problems.py:spirals", *options)
        assert "pattern 'hidde/*', which takes none of the parameters ['hidden/kernel'" in answer


def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path):
    for script in (meta_train, evaluate):
        answer = scripts.refused(script, f"--problem={EXAMPLES}:resnett", f"--output_dir={tmp_path / 'run'}")
        assert "['convolution', 'logistic_regression', 'resnet', 'sequences', 'transformer']" in answer


def test_an_error_in_a_loss_of_ones_own_is_told_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lossy.py").write_text(
        "import tensorflow as tf\nfrom problems import Problem\nfrom problems.base import no_batches\n"
        "def loss(params, constants, batch):\n    return tf.reduce_sum(params['y'])\n"
        "def lossy():\n    return Problem('lossy', lambda seed: ({'x': tf.ones([2])}, ()), no_batches, loss)\n"
    )
    for script in (meta_train, evaluate):
        answer = scripts.refused(script, "--problem=lossy.py:lossy", "--output_dir=run")
        assert "problem 'lossy.py:lossy', whose `loss` raised KeyError: 'y' (lossy.py, line 5)." in answer
    assert not list(Path("run").iterdir())  # of evaluate.py, empty


@pytest.mark.parametrize(
    ("name", "size", "rows"),
    [("logistic_regression", 650, 360), ("transformer", 3954, 4096), ("resnet", 77946, 10000)],
)
def test_examples(name, size, rows, monkeypatch, request):
    """As large as their docstrings say; and one step of gradient descent on a minibatch goes down."""
    if name == "resnet" and not (request.getfixturevalue("tfds_dir") / "cifar10").is_dir():
        pytest.skip("CIFAR-10 is not prepared: set TFDS_DATA_DIR")
    monkeypatch.chdir(scripts.ROOT)
    problem = make_problem(f"{EXAMPLES}:{name}", mode="test")
    assert problem.data.size == rows
    params, constants = problem.init(make_seed(0))
    assert sum(value.shape.num_elements() for value in params.values()) == size
    batch = tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(make_seed(1), 1))
    step = unroll.value_and_grad(lambda p, b: problem.loss(p, constants, b))
    loss, grads = step(params, batch)
    after, _ = step({name: params[name] - 0.001 * grads[name] for name in params}, batch)
    assert after < loss
    assert f"{size:,} coordinates" in (scripts.ROOT / EXAMPLES).read_text()
