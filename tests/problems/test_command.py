import subprocess
import sys

import pytest

from problems import PROBLEM_SETS, PROBLEMS, __main__
from problems.common import startup
from tests import scripts


def test_the_table_has_a_line_for_each_problem_and_each_set():
    """And the command prints nothing else."""
    command, environment = [sys.executable, "-m", "problems", "--list"], scripts.environment_without(startup.LEVEL)
    done = subprocess.run(command, cwd=scripts.ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(PROBLEMS)]] == list(PROBLEMS)
    assert [line.split()[0] for line in lines[-len(PROBLEM_SETS) :]] == list(PROBLEM_SETS)
    (nas,) = [line for line in lines if line.startswith("nas ")]
    assert nas.split()[1:4] == ["CIFAR-10", "10", "7,578"]
    assert "NAS-Bench-201" in nas
    (mnist,) = [line for line in lines if line.startswith("mnist ")]
    assert "  784x20 20 20x10 10  " in mnist
    (simple,) = [line for line in lines if line.startswith("simple ")]
    assert simple.split()[1:4] == ["-", "1", "1"]


def test_a_description(capsys):
    assert __main__.main(__main__.arguments(["--problem=digits"])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("digits: 1,510 coordinates in 4 tensors; digits/train")
    assert lines[1].split() == ["layer_0/w", "[64,", "20]"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--problem=nas", "--list"], "not allowed with argument"),
        (["--list", "--data=tfds"], "Received --data without --problem"),
        (["--data_dir=x"], "Received --data_dir without --problem"),
    ],
)
def test_wrong_options(given, message, capsys):
    with pytest.raises(SystemExit) as caught:
        __main__.arguments(given)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_problem(capsys):
    assert __main__.main(__main__.arguments(["--problem=nsa"])) == 2
    assert "did you mean" in capsys.readouterr().err
