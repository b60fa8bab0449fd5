import subprocess
import sys

from problems import PROBLEM_SETS, PROBLEMS
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
