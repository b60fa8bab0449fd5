"""The exported program and the JAX scan compute what TensorFlow does. The runner itself refuses other results."""

import itertools
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import Case, Settings, gpu_export, peers
from benchmarks.worker import Worker
from l2o_tf.optimizers import blocks, make_optimizer
from l2o_tf.unrolling import batch
from l2o_tf.unrolling.meta_gradients import pull_back
from problems import make_problem

ROOT = Path(__file__).resolve().parents[2]
LEAVES = re.compile(r" (infeed|outfeed|send|recv|custom-call)[\w-]*\(")
MODES = {"evaluation": "test", "training": "train"}
needs_jax = pytest.mark.skipif(peers.interpreter() is None, reason=peers.MISSING)


COUNTS = {"mnist": (1, 3), "mnist_deeper": (1,)}
"""Problem -> K, optimizees side by side."""


@pytest.fixture(scope="module", params=["mnist", pytest.param("mnist_deeper", marks=needs_jax)])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hlo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "LARGE", 40_000)  # less than three perceptrons have
        for (phase, mode), count in itertools.product(MODES.items(), COUNTS[request.param]):
            problem = make_problem(request.param, mode=mode, data="embedded", batch_size=16)
            gpu_export.export(folder / f"{phase}_{count}", problem, make_optimizer("L2O-DM"), phase, 3, count)
    return folder, COUNTS[request.param]


def test_a_large_optimizee_is_taken_in_blocks(exported):
    for phase, count in itertools.product(MODES, exported[1]):
        with np.load(exported[0] / f"{phase}_{count}" / "arrays.npz") as arrays:
            widths = {arrays[name].shape[-1] for name in arrays if name.startswith("in_") and arrays[name].ndim == 3}
        assert (blocks.SIZE in widths) == (count > 1)


def test_what_the_peer_needs_is_named(exported):
    for count in exported[1]:
        facts = json.loads((exported[0] / f"training_{count}" / "facts.json").read_text())
        assert set(facts["named"]) == {"batches", "images", "labels", *facts["weights"]}
        assert (facts["phase"], facts["num_steps"]) == ("training", 3)
        assert facts["meta_batch_size"] == count


@pytest.mark.parametrize("optimizer", ["L2O-DM", "RNNprop", "L2O-Scale"])
def test_a_window_keeps_to_its_device(optimizer):
    problem, student = make_problem("digits", data="embedded"), make_optimizer(optimizer)
    params, _ = problem.init(gpu_export.SEED)
    arguments = params, student.initial_state(params, gpu_export.SEED), problem.sample(gpu_export.SEED, 4)
    step = gpu_export.training_step(batch.Optimizees(problem), student)
    text = step.experimental_get_compiler_ir(*arguments)(stage="hlo")
    assert len(re.findall(r" while\(", text)) == 2
    assert not LEAVES.search(text)


def test_all_shapes_are_known_where_a_window_is_replayed(monkeypatch):
    """StableHLO, which the runner takes, has no place for others."""
    monkeypatch.setattr(pull_back, "MAX_BYTES", 2**20)
    problem, student = make_problem("digits", data="embedded"), make_optimizer("L2O-DM")
    params, _ = problem.init(gpu_export.SEED)
    arguments = params, student.initial_state(params, gpu_export.SEED), problem.sample(gpu_export.SEED, 4)
    step = gpu_export.training_step(batch.Optimizees(problem), student)
    text = step.experimental_get_compiler_ir(*arguments)(stage="hlo")
    assert len(re.findall(r" while\(", text)) > 2
    assert not re.search(r" (set-dimension-size|dynamic-reshape)\(", text)


def test_a_program_that_calls_out_is_found():
    calling = tf.function(lambda matrix: tf.linalg.qr(matrix)[0], jit_compile=True, autograph=False)
    assert LEAVES.search(calling.experimental_get_compiler_ir(tf.eye(3))(stage="hlo"))


@needs_jax
def test_the_runner_has_the_same_results_and_a_table(exported):
    folder, counts = exported
    command = [peers.interpreter(), "-m", "benchmarks.bench_gpu", str(folder), "--repetitions=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [(row[0], int(row[1]), row[2]) for row in rows] == list(itertools.product(MODES, counts, ("program", "jax")))
    assert all(float(row[3]) > 0 for row in rows)
    assert all(float(row[4]) < 1e-3 for row in rows)


@needs_jax
@pytest.mark.parametrize("phase", ["training", "evaluation"])
def test_the_peer_is_a_case_of_the_benchmark(phase):
    with Worker(Case("mnist", "L2O-DM", phase, "jax"), Settings(num_steps=4, unroll_length=2)) as worker:
        facts = worker.start()
        assert (facts["coordinates"], facts["device"]) == (15910, "cpu")
        assert min(worker.run().values()) > 0
