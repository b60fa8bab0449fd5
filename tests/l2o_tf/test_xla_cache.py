"""Where XLA's cache is, and that a second process is served from it with the same numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

from l2o_tf import xla_cache

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from l2o_tf import console
console.import_tensorflow()
import tensorflow as tf
print(float(tf.function(lambda x: tf.reduce_sum(tf.tanh(x) @ x), jit_compile=True)(tf.ones([8, 8]))))
"""


@pytest.fixture
def environment(tmp_path):
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def directory(environment):
    _, _, folder = environment[xla_cache.FLAGS].partition(xla_cache.FLAG + "=")
    return Path(folder)


def enabled(**environment) -> Path:
    xla_cache.enable(environment)
    return directory(environment)


def test_each_processor_has_a_folder_and_so_have_other_flags(environment, monkeypatch):
    here = enabled(**environment)
    assert here.is_dir()
    assert here.parent == Path(environment["XDG_CACHE_HOME"]) / "l2o_tf" / "xla"
    quickly = enabled(**environment, XLA_FLAGS="--xla_backend_optimization_level=0")
    monkeypatch.setattr(xla_cache, "_processor", lambda: "another")
    assert len({here, quickly, enabled(**environment)}) == 3


def test_it_can_be_elsewhere_or_off(environment, tmp_path):
    chosen = {**environment, xla_cache.SETTING: str(tmp_path / "mine"), xla_cache.FLAGS: "--other=1"}
    xla_cache.enable(chosen)
    assert chosen[xla_cache.FLAGS].startswith(f"--other=1 {xla_cache.FLAG}={tmp_path / 'mine'}/")
    for off in ({xla_cache.SETTING: ""}, {xla_cache.FLAGS: f"{xla_cache.FLAG}=/somewhere"}):
        before = {**environment, **off}
        xla_cache.enable(after := dict(before))
        assert after == before


def test_an_error_that_names_it_says_how_to_do_without():
    environment = {xla_cache.FLAGS: f"--other=1 {xla_cache.FLAG}=/tmp/xla"}
    assert xla_cache.SETTING in xla_cache.advice("/tmp/xla/1.tmp; File too large", environment)
    assert xla_cache.advice("/tmp/other", environment) == xla_cache.advice("/tmp/xla", {}) == ""


def test_without_a_folder_there_is_no_cache(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "below", tmp_path / "with space"):
        environment = {xla_cache.SETTING: str(folder)}
        xla_cache.enable(environment)
        assert xla_cache.FLAGS not in environment


def test_a_second_process_finds_what_the_first_has_compiled(tmp_path):
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={xla_cache.SETTING: str(tmp_path / "xla"), "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        entries = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "xla").glob("*/*")}
        found.append((done.stdout, entries))
    assert found[0][1], "nothing was stored"
    assert found[0] == found[1]
