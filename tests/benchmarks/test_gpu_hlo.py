"""The exported program and the JAX scan compute what TensorFlow does. The runner itself refuses other results."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks import floor, gpu_hlo, peers
from benchmarks.measure import Worker
from benchmarks.plan import Case, Settings
from l2o_tf.optimizers import make_optimizer
from problems import make_problem

ROOT = Path(__file__).resolve().parents[2]
needs_jax = pytest.mark.skipif(peers.interpreter() is None, reason=peers.MISSING)


@pytest.fixture(scope="module", params=["mnist", "mnist_deeper"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hlo")
    for phase, mode in (("training", "train"), ("evaluation", "test")):
        problem = make_problem(request.param, mode=mode, data="embedded", batch_size=16)
        gpu_hlo.export(folder / phase, problem, make_optimizer("L2O-DM"), phase, 3)
    return folder


def test_what_the_peer_needs_is_named(exported):
    facts = json.loads((exported / "training" / "facts.json").read_text())
    assert set(facts["named"]) == {"batches", "images", "labels", *facts["weights"]}
    assert (facts["phase"], facts["num_steps"], facts["batch_size"]) == ("training", 3, 16)


@needs_jax
def test_the_runner_has_the_same_results_and_a_table(exported):
    command = [peers.interpreter(), "-m", "benchmarks.run_hlo", str(exported), "--repetitions=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **floor.ENVIRONMENT})
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        [phase, method] for phase in ("training", "evaluation") for method in ("program", "jax", "floor")
    ]
    assert all(float(row[2]) > 0 for row in rows)
    assert all(float(row[4]) < 1e-3 for row in rows if row[1] != "floor")


@needs_jax
@pytest.mark.parametrize("phase", ["training", "evaluation"])
def test_the_peer_is_a_case_of_the_benchmark(phase):
    with Worker(Case("mnist", "L2O-DM", phase, "jax"), Settings(num_steps=4, unroll_length=2)) as worker:
        facts = worker.start()
        assert (facts["coordinates"], facts["device"]) == (15910, "cpu")
        assert worker.run() > 0
        assert worker.memory()["peak_mib"] > 0
