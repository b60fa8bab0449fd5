"""The released weights under our evaluator, beside the curves that the original program gave with them.

Both are one loss after each update on a fresh minibatch. The results are those of docs/reproduction-tables.md. A
curve is one run of the original's, with a start and minibatches of its own, so it must lie where one more of our runs
would: `z = (x - mean) / (std sqrt(1 + 1/R))` is about a standard normal number.
"""

import json
from pathlib import Path

import numpy as np
import pytest

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
WEIGHTS = ("dm", "dm_cl", "dm_cl_il", "rnnprop_cl_il")


def deviations(curves, problem):
    """z of every original run with released weights on `problem`, at every step of our tables."""
    found = []
    for name in WEIGHTS:
        summary = json.loads((RESULTS / f"{problem}--{name}_(original).json").read_text())["summary"]
        for run in (curve for key, curve in curves.items() if key.startswith(f"{problem}/{name}/")):
            for at in summary["at"]:
                theirs = np.log(np.mean(np.float64(run[at["step"] - summary["window"] : at["step"]])))
                found.append((theirs - at["mean"]) / (at["std"] * np.sqrt(1 + 1 / summary["runs"])))
    return np.array(found)


@pytest.mark.parametrize(("problem", "runs"), [("mnist", 6), ("mnist_relu", 4), ("mnist_deeper", 4)])
def test_the_original_runs_could_be_ours(recordings, problem, runs):
    z = deviations(recordings("orig_eval_curves"), problem)
    assert z.shape == (5 * runs,)
    assert np.abs(z).max() < 3
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.5


def test_other_weights_are_told_apart(recordings):
    """A curve of dm_cl in the place of dm's would be seen."""
    curves = recordings("orig_eval_curves")
    swapped = {"mnist/dm/s1": curves["mnist/dm_cl/s1"]}
    assert np.abs(deviations(swapped, "mnist")).max() > 9
