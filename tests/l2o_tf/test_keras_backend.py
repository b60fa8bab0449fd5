"""Whatever Keras is configured for: one sentence, or float32 on TensorFlow."""

import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from l2o_tf.cli import console
from l2o_tf.common import keras_backend
from l2o_tf.optimizers import CELLS, Step, make_optimizer
from problems.base import make_seed
from tests import scripts


@pytest.fixture
def floatx(request):
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx("float32")


@pytest.mark.parametrize("floatx", ["float16", "float64"], indirect=True)
def test_scripts_compute_in_float32(floatx):
    for kind in CELLS:
        optimizer, params = make_optimizer(kind), {"x": tf.ones([3])}
        updates, _ = optimizer.update(Step(params, params), optimizer.initial_state(params, make_seed(0)))
        assert updates["x"].dtype == tf.float32
    console.import_tensorflow()
    assert keras.config.floatx() == "float32"


def test_another_backend(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="Received the Keras backend 'jax', expected 'tensorflow'. Set it in KERAS"):
        keras_backend.check()
    with (
        pytest.raises(ValueError, match="with which Keras cannot be imported .AssertionError., expected"),
        keras_backend.explained(),
    ):
        raise AssertionError


def test_a_backend_that_is_not_there():
    """As Keras reads its configuration, once: in a process of its own."""
    done = subprocess.run(
        [sys.executable, "meta_train.py"],
        cwd=scripts.ROOT,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "meta_train.py: Received a configuration with which Keras cannot be imported (No module"
    )
    assert len(done.stderr.splitlines()) == 1
