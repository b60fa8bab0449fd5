import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from problems import PROBLEM_SETS, PROBLEMS, __main__, gallery, make_problem, quiet
from problems.base import fold, make_seed
from tests import scripts


def test_the_table_has_a_line_for_each_problem_and_each_set():
    """And the command prints nothing else."""
    command, environment = [sys.executable, "-m", "problems", "--list"], scripts.environment_without(quiet.LEVEL)
    done = subprocess.run(command, cwd=scripts.ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(PROBLEMS)]] == list(PROBLEMS)
    assert [line.split()[0] for line in lines[-len(PROBLEM_SETS) :]] == list(PROBLEM_SETS)
    (nas,) = [line for line in lines if line.startswith("nas ")]
    assert nas.split()[1:4] == ["CIFAR-10", "10", "7,578"]
    assert "NAS-Bench-201" in nas and "  Chen et al. 2020  " in nas
    (mnist,) = [line for line in lines if line.startswith("mnist ")]
    assert "  784x20 20 20x10 10  " in mnist
    (simple,) = [line for line in lines if line.startswith("simple ")]
    assert simple.split()[1:4] == ["-", "1", "1"]


def test_adam_is_adam():
    """One coordinate, by hand: the first step of Adam is the learning rate."""
    losses = gallery.adam_losses(make_problem("simple"), 3, 0.1, seed=0)
    np.testing.assert_allclose(losses[:2], [1.0, 0.81], rtol=1e-5)
    digits = make_problem("digits", batch_size=16)
    losses = gallery.adam_losses(digits, 2, 0.1, seed=3)
    params, constants = digits.init(fold(make_seed(3), 0))
    batch = digits.sample(fold(make_seed(3), 1), 2)[0]
    np.testing.assert_allclose(losses[0], digits.loss(params, constants, batch), rtol=1e-6)


@pytest.mark.parametrize("name", ["digits", "cifar_conv", "quadratic", "fully_connected"])
def test_a_picture_and_a_description(name, tmp_path, capsys):
    file = tmp_path / "picture.png"
    given = [f"--problem={name}", "--data=embedded", "--plot", "--num_steps=3", f"--output={file}"]
    assert __main__.main(__main__.arguments(given)) == 0
    assert file.stat().st_size > 5_000
    assert capsys.readouterr().out.startswith(f"{name}: ")


def test_examples_are_those_of_the_minibatch():
    problem = make_problem("cifar_conv", data="embedded", batch_size=4)
    images, labels = problem.examples(tf.constant([3, 1]))
    assert images.shape == [2, 32, 32, 3]
    again, _ = problem.examples(tf.constant([1]))
    np.testing.assert_array_equal(images[1], again[0])
    assert labels.dtype == tf.int32


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--plot"], "Received --plot without --problem"),
        (["--problem=nas", "--plot", "--num_steps=0"], "Received --num_steps=0"),
        (["--problem=nas", "--plot", "--learning_rate=-1"], "Received --learning_rate=-1"),
        (["--problem=nas", "--num_steps=5"], "Received --num_steps without --plot"),
        (["--problem=nas", "--list"], "Received --list with --problem"),
        (["--list", "--data=tfds"], "Received --data without --problem"),
        (["--data_dir=x"], "Received --data_dir without --problem"),
    ],
)
def test_wrong_options(given, message, capsys):
    with pytest.raises(SystemExit) as caught:
        __main__.arguments(given)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_where_no_picture_can_be(tmp_path, capsys):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "x.png", tmp_path / "x.nothing"):
        given = ["--problem=simple", "--plot", "--num_steps=1", f"--output={output}"]
        assert __main__.main(__main__.arguments(given)) == 2
    assert __main__.main(__main__.arguments([*given[:-1], f"--output={tmp_path / 'new' / 'x.png'}"])) == 0


def test_an_unknown_problem(capsys):
    assert __main__.main(__main__.arguments(["--problem=nsa"])) == 2
    assert "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([3, 1], ["3", "1"]),
        ([[3], [1]], ["3", "1"]),
        ([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], ["2", "0"]),
        ([[0.2, 0.8], [0.5, 0.5]], []),
        (np.zeros([2, 8, 8]), []),
    ],
)
def test_images_are_named_by_their_labels(labels, names):
    figure = Figure()
    axes = figure.subplots()
    images = np.stack([np.zeros([8, 8, 1], np.float32), np.ones([8, 8, 1], np.float32)])
    gallery._draw_examples(axes, tf.constant(images), tf.constant(labels))
    assert [text.get_text() for text in axes.texts if text.get_text()] == names
    canvas = axes.images[0].get_array()
    assert canvas[:8, :8].max() == 0 and canvas[:8, 8:16].min() == 1 and canvas[8:].max() == 0


def test_every_function_of_a_file_has_a_picture_of_its_own(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text("from problems.analytic import simple\nfirst = second = simple\n")
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        given = [f"--problem={file}:{name}", "--plot", "--num_steps=1"]
        assert __main__.main(__main__.arguments(given)) == 0
    assert {path.name for path in tmp_path.glob("*.png")} == {"mine-first.png", "mine-second.png"}
