import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import problems
from problems import PROBLEM_SETS, PROBLEMS, make_problem
from problems.base import make_seed

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_counts_them():
    assert f"{len(PROBLEMS)} problems" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_as_it_is_by_default(name):
    """`test_contracts.py` checks it with small minibatches, and compiled."""
    small = {"vgg16": {"blocks": [[4]] * 5, "batch_size": 4}, "confocal_microscopy_3d": {"size": 8}}
    problem = make_problem(name, data="embedded", **small.get(name, {}))
    assert problem.name == name
    params, constants = problem.init(make_seed(0))
    assert params and all(value.dtype == tf.float32 and value.shape.is_fully_defined() for value in params.values())
    batches = problem.sample(make_seed(1), 4)
    assert all(leaf.shape[0] == 4 for leaf in tf.nest.flatten(batches))
    batch = tf.nest.map_structure(lambda leaf: leaf[0], batches)
    loss = problem.loss(params, constants, batch)
    assert loss.shape == [] and loss.dtype == tf.float32 and np.isfinite(loss)
    assert problem.data is None or problem.measure is not None
    assert inspect.getdoc(PROBLEMS[name])


@pytest.mark.parametrize(
    ("name", "close"), [("mnst", "mnist"), ("quadratik", "quadratic"), ("mnist_rleu", "mnist_relu")]
)
def test_an_unknown_name_is_answered_with_the_close_ones(name, close):
    with pytest.raises(ValueError, match=rf"Received problem '{name}', expected one of .*did you mean .*{close}"):
        make_problem(name)


def test_an_unknown_name_that_is_close_to_nothing():
    with pytest.raises(ValueError, match="expected one of ackley, beale,") as caught:
        make_problem("zzz")
    assert "did you mean" not in str(caught.value)


def test_an_unknown_option_is_answered_with_the_options_there_are():
    with pytest.raises(ValueError, match="option 'batchsize' for problem 'quadratic'.*did you mean batch_size"):
        make_problem("quadratic", batchsize=3)
    with pytest.raises(ValueError, match="Received option 'x' for problem 'simple', expected none"):
        make_problem("simple", x=1)
    with pytest.raises(
        ValueError, match="Received option 'layers' for problem 'mnist_relu', expected one of batch_size"
    ):
        make_problem("mnist_relu", data="embedded", layers=(5,))


def test_every_problem_and_every_set_is_documented():
    text = (ROOT / "docs" / "problems.md").read_text()
    assert not [name for name in (*PROBLEMS, *PROBLEM_SETS) if f"`{name}`" not in text]


def test_names_are_found_when_they_are_used():
    assert set(problems.__all__) <= set(dir(problems))
    assert all(getattr(problems, name) is not None for name in problems.__all__)
    with pytest.raises(AttributeError, match="module 'problems' has no attribute 'nothing'"):
        _ = problems.nothing


def test_importing_is_light_and_the_fallback_is_loud(tmp_path):
    program = (
        "import sys; import problems; assert 'tensorflow' not in sys.modules;"
        "from problems.common import startup; startup.import_tensorflow();"
        "import problems.data.sources; assert 'tensorflow_datasets' not in sys.modules;"
        "problems.data.sources.answers = lambda url: False;"
        "print(problems.make_problem('mnist', data_dir=sys.argv[1]).data)"
    )
    environment = {"KERAS_HOME": str(tmp_path), "HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("digits-28x28/train (1,437 examples")
    assert done.stderr.count("NOT MNIST: this run uses the embedded 8x8 digits") == 1 and "#" * 100 in done.stderr
