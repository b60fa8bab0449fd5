"""The examples run as printed, on the embedded data."""

import ast
import copy
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import tensorflow as tf
from nbclient import NotebookClient

from examples import other_networks
from l2o_tf.cli import evaluate, meta_train
from l2o_tf.common import nest
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving.loading import load
from l2o_tf.unrolling.unroll import value_and_grad
from problems import DataOptions
from problems.base import make_seed
from tests import scripts

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHORT = ("--num_epochs=2", "--num_steps=20", "--num_runs_validation=2")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_imports_the_public_api_only(file):
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.startswith("l2o_tf.")]


@pytest.fixture
def run_smaller(tmp_path, monkeypatch, capsys):
    """Runs an example with other sizes in a folder of its own; returns what it prints."""

    def run(name: str, sizes: list[tuple[str, str]]) -> str:
        source = (ROOT / "examples" / name).read_text()
        for size, smaller in sizes:
            assert size in source, size
            source = source.replace(size, smaller)
        (tmp_path / name).write_text(source)
        monkeypatch.chdir(tmp_path)
        runpy.run_path(name, run_name="__main__")
        return capsys.readouterr().out

    return run


def test_ten_lines(run_smaller, tmp_path):
    """At most ten lines, from a Keras model to `fit` with an optimizer that was trained for it."""
    tree = ast.parse((ROOT / "examples" / "ten_lines.py").read_text())
    assert len(tree.body) - 1 <= 10 and all(node.lineno == node.end_lineno for node in tree.body)
    sizes = [
        ("(40, 100, 200)", "(20, 40, 60)"),
        ("epochs=80", "epochs=2"),
        ("num_steps=500, num_runs=5", "num_steps=20"),
    ]
    assert "loss: " in run_smaller("ten_lines.py", sizes)
    assert (tmp_path / "mine.png").stat().st_size > 10_000


def test_a_technique_of_ones_own(run_smaller, tmp_path):
    assert len((ROOT / "examples" / "technique_of_ones_own.py").read_text().splitlines()) <= 60
    sizes = [("epochs=60", "epochs=3"), ("num_steps=200", "num_steps=20"), ("curriculum=100", "curriculum=20")]
    sizes += [("ratio: float = 0.5", "ratio: float = 0.9"), ("steps: int = 20", "steps: int = 2")]
    table = run_smaller("technique_of_ones_own.py", sizes)
    assert "plain" in table and "mixed" in table
    records = (tmp_path / "runs" / "technique_of_ones_own" / "mixed" / "records.jsonl").read_text()
    assert "after Adam" in records


def test_a_rule_of_ones_own(run_smaller, tmp_path):
    """Its weights and its code are kept; so it can be loaded, by whoever allows that."""
    assert len((ROOT / "examples" / "mlp_rule.py").read_text().splitlines()) <= 60
    sizes = [("epochs=100", "epochs=3"), ("num_steps=200", "num_steps=20"), ("curriculum=100", "curriculum=20")]
    assert "MLPRule" in run_smaller("mlp_rule.py", sizes)
    with pytest.raises(ValueError, match="allow"):
        load(str(tmp_path / "runs" / "mlp_rule"))
    again = load(str(tmp_path / "runs" / "mlp_rule"), allow_code=True)
    assert next(iter(again.named_variables)) == "hidden/kernel"


def test_a_meta_loss_on_validation_data(run_smaller):
    """It changes what is learnt: the losses on held-out rows differ."""
    assert len((ROOT / "examples" / "validation_meta_loss.py").read_text().splitlines()) <= 60
    printed = run_smaller("validation_meta_loss.py", [("NUM_EPOCHS = 100, 60", "NUM_EPOCHS = 100, 2")])
    on_training, on_held_out = (line.split(": ")[1] for line in printed.splitlines())
    assert on_training != on_held_out


def test_a_perceptron_in_fit(tmp_path):
    file = tmp_path / "picture.png"
    given = ["--data=embedded", "--epochs=4", "--optimizer=L2O-DM", "--learning_rate=0", f"--output={file}"]
    command = [sys.executable, "-m", "examples.mnist_mlp_fit", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "oneDNN" not in done.stderr, "a start-up line of TensorFlow"
    assert file.stat().st_size > 10_000
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines() if "mean loss of the last 50" in line]
    assert losses[0] > 2.2 > losses[1] > 0


def test_train_your_own(tmp_path):
    """From another folder, as a user of the installed package would."""
    options = ["--num_epochs=2", "--num_steps=20", "--fit_epochs=1", f"--output_dir={tmp_path / 'run'}"]
    command = [sys.executable, str(ROOT / "examples" / "train_your_own.py"), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "train_your_own.png").stat().st_size > 10_000
    assert "mine: mean loss of epoch 1" in done.stdout


def test_a_new_optimizer(tmp_path):
    """Its parts work together, twice the same from the same seed, and another process finds the weights again."""
    name = f"{ROOT / 'examples' / 'new_optimizer.py'}:GRUCell"
    options = (f"--optimizer={name}", "--problem=quadratic", *SHORT, f"--output_dir={tmp_path / 'run'}")
    assert scripts.call(meta_train, *options).code == 0
    first, second = (make_optimizer(name, {"seed": 3}).trainable_variables for _ in range(2))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    command = [sys.executable, "-m", "evaluate", f"--optimizer={tmp_path / 'run'}", "--allow_code"]
    command += ["--problem=quadratic", "--num_steps=5", "--num_runs=1", f"--output_dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_other_networks(tmp_path):
    file = ROOT / "examples" / "other_networks.py"
    chosen = f"--problem={file}:tanh,{file}:elu"
    steps = ("--num_steps=60", "--num_runs=2", "--data=embedded", f"--output_dir={tmp_path}")
    assert scripts.call(evaluate, "--optimizer=Adam", chosen, *steps).code == 0
    curves = np.load(tmp_path / "curves.npz")
    losses = {name: curves[f"{file}:{name}/Adam"].mean(0) for name in ("tanh", "elu")}
    assert all(loss[0] > 2.2 and loss[-1] < 1.5 for loss in losses.values())
    assert not np.array_equal(losses["tanh"], losses["elu"])


@pytest.mark.usefixtures("tfds_dir")
@pytest.mark.parametrize(
    ("name", "size", "hidden"),
    [("ten_thousand", 15_910, 0.5), ("ten_thousand_relu", 12_730, 0.0), ("ten_thousand_deep", 26_506, 0.5)],
)
def test_ten_thousand_images(name, size, hidden):
    """With sigmoids hidden units are 1/2 where all weights are 0, with ReLU 0: there the last layer has no slope."""
    problem = getattr(other_networks, name)(mode="test", data_options=DataOptions(split="train"))
    assert 9_900 < problem.sample(make_seed(0), 50).numpy().max() < 10_000
    assert problem.measure is None
    params, constants = problem.init(make_seed(0))
    params = {key: tf.zeros_like(value) for key, value in params.items()}
    batch = problem.sample(make_seed(0), 1)[0]
    _, slopes = value_and_grad(lambda params, batch: problem.loss(params, constants, batch))(params, batch)
    assert nest.size(params) == size
    assert (np.abs(slopes[max(key for key in slopes if key.endswith("/w"))]).max() > 0) == (hidden > 0)


def first_layer_slope(problem):
    """Length of the gradient of the first layer's weights where a run begins."""
    params, constants = problem.init(make_seed(0))
    evaluate_at = value_and_grad(lambda params, batch: problem.loss(params, constants, batch))
    return np.linalg.norm(evaluate_at(params, problem.sample(make_seed(1), 1)[0])[1]["layer_0/w"])


def test_a_deep_network_begins_on_a_plateau():
    """A network with one hidden layer does not."""
    deep, shallow = (make(data_options=DataOptions("embedded")) for make in (other_networks.deep, other_networks.tanh))
    assert nest.size(deep.init(make_seed(0))[0]) == 26_506
    assert first_layer_slope(deep) < 0.01 * first_layer_slope(shallow)


SIZES_OF_THE_NOTEBOOK = [
    ("num_runs=5, num_steps=300", "num_runs=1, num_steps=100"),
    ("epochs=10", "epochs=1"),
    ("range(80)", "range(2)"),
    ("curriculum=100", "curriculum=20"),
    ("period=20, num_runs=5", "period=1, num_runs=1"),
]
"""As stored, and as tested."""


def test_the_notebook():
    """Runs, and is stored as it ran: with what it printed and drew, without warnings and errors."""
    file = ROOT / "examples" / "quickstart.ipynb"
    stored = nbformat.read(file, as_version=4)
    fresh = copy.deepcopy(stored)
    for size, smaller in SIZES_OF_THE_NOTEBOOK:
        (cell,) = (cell for cell in fresh.cells if size in cell.source)
        cell.source = cell.source.replace(size, smaller)
    folder = {"metadata": {"path": str(file.parent)}}
    NotebookClient(fresh, timeout=300, kernel_name="python3", resources=folder).execute()

    def kinds(notebook):
        """What the cells have left, except for progress on stderr."""
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        progress = re.compile(r".*: step \d")
        return [
            {o.get("name", o.output_type) for o in cell.outputs if not progress.match(o.get("text", ""))}
            for cell in cells
        ]

    assert kinds(stored) == kinds(fresh) == [set(), {"stdout"}, {"display_data"}, {"stdout"}, {"stdout"}]
