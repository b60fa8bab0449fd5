"""The same work in JAX, and where to find the Python that has it.

JAX is no dependency of this project. `make bench` installs it into an environment of its own, `.venv-bench`
(requirements-bench.txt). The modules here import neither TensorFlow nor `l2o_tf`.
"""

import functools
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-bench"
MISSING = "no JAX here: make .venv-bench/.installed"

PERCEPTRONS: dict[str, tuple[tuple[int, ...], str]] = {
    "mnist": ((20,), "sigmoid"),
    "mnist_relu": ((20,), "relu"),
    "mnist_deeper": ((20, 20), "sigmoid"),
}
"""Problems that the JAX program has: hidden layers, activation. Its optimizer is L2O-DM."""


@functools.cache
def interpreter() -> str | None:
    """A Python that has JAX: that of `.venv-bench`, else this one; None if neither has."""
    for python in (str(ENVIRONMENT / "bin" / "python"), sys.executable):
        look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('jax') is None)"
        if Path(python).exists() and subprocess.run([python, "-c", look], check=False).returncode == 0:
            return python
    return None
