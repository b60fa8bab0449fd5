"""The examples run as printed, on the embedded data."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_perceptron_in_fit(tmp_path):
    file = tmp_path / "picture.png"
    given = ["--data=embedded", "--epochs=1", "--optimizer=L2O-DM", f"--output={file}"]
    command = [sys.executable, "-m", "examples.mnist_mlp_fit", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert file.stat().st_size > 10_000
    assert "Adam: mean loss of the last 50 minibatches" in done.stdout
