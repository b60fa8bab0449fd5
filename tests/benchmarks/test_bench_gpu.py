"""The exported program and the JAX scan compute what TensorFlow does. The runner itself refuses other results."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import Case, Settings, gpu_export, inputs, peers
from benchmarks.worker import Worker
from l2o_tf.optimizers import blocks, make_optimizer
from l2o_tf.unrolling import batch
from l2o_tf.unrolling.meta_gradients import pull_back
from problems import make_problem

ROOT = Path(__file__).resolve().parents[2]
LEAVES = re.compile(r" (infeed|outfeed|send|recv|custom-call)[\w-]*\(")
needs_jax = pytest.mark.skipif(peers.interpreter() is None, reason=peers.MISSING)


CASES = [
    gpu_export.Case("mnist", "adam", "evaluation", 1),
    gpu_export.Case("mnist", "L2O-DM", "training", 1),
    gpu_export.Case("mnist", "L2O-DM", "sampled", 1),
    gpu_export.Case("mnist", "L2O-DM", "sampled", 3),
    gpu_export.Case("mnist", "L2O-DM", "evaluation", 3),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder, problem = tmp_path_factory.mktemp("gpu"), gpu_export.drawn_mnist(batch_size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "LARGE", 40_000)  # less than three perceptrons have
        facts = [gpu_export.export(folder, problem, make_optimizer(case.optimizer), case, 3) for case in CASES]
    (folder / "cases.json").write_text(json.dumps({"commit": None, "cases": facts}))
    return folder, dict(zip(CASES, facts, strict=True))


def test_a_large_optimizee_is_taken_in_blocks(exported):
    for case, facts in exported[1].items():
        widths = {tuple(recipe["shape"][-1:]) for recipe in facts["inputs"] if recipe["kind"] == "constant"}
        assert ((blocks.SIZE,) in widths) == (case.meta_batch_size > 1)


def test_what_the_peer_needs_is_named(exported):
    facts = exported[1][CASES[1]]
    assert facts["named"].keys() == {"images", "labels", *make_optimizer("L2O-DM").named_variables}
    assert (facts["coordinates"], facts["bytes"], facts["num_steps"]) == (15910, 652, 3)
    assert [facts["inputs"][at]["shape"] for at in facts["params"]] == [[784, 20], [20], [20, 10], [10]]
    assert facts["inputs"][facts["batches"]]["shape"] == [4, 16]


def test_the_folder_is_small_enough_to_carry(exported):
    assert sum(path.stat().st_size for path in exported[0].iterdir()) < 300_000


def test_a_sample_as_a_recipe_is_a_sample():
    where, weight, optimizee = (
        inputs.make({"kind": kind, "sizes": [4000, 20], "parts": [500, 20], "seed": 4, "count": 2}, {})
        for kind in ("where", "weight", "optimizee")
    )
    assert len(set(where)) == 520 and where[:500].max() < 4000
    np.testing.assert_array_equal(where[500:], np.arange(4000, 4020))
    np.testing.assert_array_equal(weight, [8.0] * 500 + [1.0] * 20)
    np.testing.assert_array_equal(optimizee[:500], where[:500] >= 2000)
    np.testing.assert_array_equal(optimizee[500:], [0] * 10 + [1] * 10)


def test_the_cases_that_there_are_come_in_the_order_asked_for():
    found = gpu_export.make_cases(["mnist", "million"], ["adam", "L2O-DM", "L2O-Scale"], [256, 1])
    assert found[0] == ("mnist", "adam", "evaluation", 256)
    assert {case.meta_batch_size for case in found if case.problem == "million" or case.optimizer == "L2O-Scale"} == {1}
    with pytest.raises(ValueError, match="Received --optimizer=sgd, expected some of L2O-DM"):
        gpu_export.make_cases(["mnist"], ["sgd"], [1])


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


def bench(folder, output, *arguments):
    command = [peers.interpreter(), "-m", "benchmarks.bench_gpu", str(folder), f"--output={output}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@needs_jax
def test_the_runner_has_the_same_results_and_says_which_differ(exported, tmp_path):
    """One case more has other outputs stored: it fails, and the others do not."""
    folder, facts = tmp_path / "gpu", list(exported[1].values())
    shutil.copytree(exported[0], folder)
    wrong = facts[1] | {"name": "wrong", "problem": "wrong"}
    with np.load(folder / f"{facts[1]['name']}.npz") as arrays:
        np.savez(folder / "wrong.npz", **{name: 1.01 * x if name == "out_1" else x for name, x in arrays.items()})
    shutil.copy(folder / f"{facts[1]['name']}.stablehlo.gz", folder / "wrong.stablehlo.gz")
    (folder / "cases.json").write_text(json.dumps({"commit": None, "cases": [*facts, wrong]}))
    done = bench(folder, tmp_path / "gpu.json", "--case_seconds=0.01")
    assert done.returncode == 1, done.stderr
    *rows, failed = json.loads((tmp_path / "gpu.json").read_text())["cases"]
    assert failed["status"] == "failed" and "differ" in failed["reason"]
    assert "".join(row["program"][0] for row in rows) == "ttjtttj"
    assert {row["status"] for row in rows} == {"done"}
    assert all(row["difference"] < 1e-3 for row in rows if row["meta_batch_size"] == 1)
    assert min(row["ns"] for row in rows) > 0 and all(row["x_memory"] > 0 for row in rows)
    one = {(row["method"], row["program"]): row for row in rows if row["meta_batch_size"] == 1}
    assert one["sampled", "tensorflow"]["x_jax"] == pytest.approx(
        one["sampled", "tensorflow"]["ns"] / one["training", "jax"]["ns"]
    )
    assert one["training", "jax"]["x_adam"] == pytest.approx(
        one["training", "jax"]["ns"] / one["evaluation", "tensorflow"]["ns"]
    )


@needs_jax
def test_what_does_not_fit_into_the_budget_is_named(exported, tmp_path):
    output = tmp_path / "gpu.json"
    done = bench(exported[0], output, "--budget=0", "--most=1")
    assert done.returncode == 0, done.stderr
    cases = json.loads(output.read_text())["cases"]
    assert [case["meta_batch_size"] for case in cases] == [1, 1, 1, 1]
    assert {(case["status"], case["reason"]) for case in cases} == {("not run", "The budget was used up.")}
    again = bench(exported[0], output)
    assert again.returncode == 2 and "which exists" in again.stderr


@needs_jax
@pytest.mark.parametrize("phase", ["training", "evaluation"])
def test_the_peer_is_a_case_of_the_benchmark(phase):
    with Worker(Case("mnist", "L2O-DM", phase, "jax"), Settings(num_steps=4, unroll_length=2)) as worker:
        facts = worker.start()
        assert (facts["coordinates"], facts["device"]) == (15910, "cpu")
        assert min(worker.run().values()) > 0
