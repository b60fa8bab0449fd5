"""Of each training that is kept, the tree has the weights and one JSON, and both still load."""

from pathlib import Path

import pytest

import l2o_tf

RUNS = sorted((Path(__file__).resolve().parents[1] / "experiments" / "runs").iterdir())


@pytest.mark.parametrize("folder", RUNS, ids=lambda path: path.name)
def test_a_run_still_loads(folder):
    assert {"optimizer.json", "weights.npz"} <= {path.name for path in folder.iterdir()}
    optimizer = l2o_tf.load(str(folder))
    assert optimizer.trainable_variables
