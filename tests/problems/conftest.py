"""Keeps the tests of problems away from the network and from what lies in the home directory."""

import pytest

from problems.data import sources


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No server answers, nothing is cached by Keras, and no folder is the default one of TFDS."""
    monkeypatch.setattr(sources, "answers", lambda url: False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def no_tfds(monkeypatch, tmp_path):
    """A folder in which TFDS has nothing."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"
