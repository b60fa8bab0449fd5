"""The benchmark measures what it says, and compares like with like. No time is asserted anywhere."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from benchmarks import Case, Settings, bench_unroll, cases, document, history, peers, plain
from benchmarks.worker import Worker
from l2o_tf.optimizers import make_optimizer
from l2o_tf.unrolling import objectives
from problems import make_problem
from problems.base import make_seed
from tests.l2o_tf import lessons

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(num_steps=4, unroll_length=2, data="embedded")
ROW = {"problem": "mnist", "optimizer": "L2O-DM", "phase": "training", "method": "ours", "data": None}
TIMES = {"ms_median": 2.0, "ms_min": 1.0, "ratio": 0.5, "first_call_s": 3.0, "peak_mib": 12.3456}


def bench(*arguments):
    command = [sys.executable, "-m", "benchmarks.bench_unroll", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_quick_run_from_end_to_end(tmp_path):
    path = tmp_path / "history.jsonl"
    few = ("--problem=quadratic", "--optimizer=L2O-DM", "--phase=training", "--method=plain,ours", f"--history={path}")
    done = bench("--num_steps=4", "--unroll_length=2", "--repetitions=2", "--data=embedded", *few)
    assert done.returncode == 0, done.stderr
    line = json.loads(path.read_text())
    assert line["arguments"].items() >= {"num_steps": 4, "unroll_length": 2, "repetitions": 2}.items()
    assert line.keys() >= {"date", "commit", "dirty", "versions", "machine", "load"}
    plain_row, ours = line["results"]
    assert (plain_row["method"], ours["method"]) == ("plain", "ours")
    assert plain_row["ratio"] == 1
    for row in line["results"]:
        assert row["coordinates"] == 1280
        assert 0 < row["ms_min"] <= row["ms_median"]
        assert min(row["ratio"], row["first_call_s"], row["peak_mib"]) > 0
    assert done.stdout.strip() == bench_unroll.table(line)


def test_a_mistake_is_one_line_and_exit_code_2():
    done = bench("--method=our")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bench_unroll.py: Received --method=our, expected")
    assert done.stderr.endswith("Did you mean ours or ours-xla or floor?\n")


def test_what_a_worker_says_against_a_case_comes_back():
    with (
        Worker(Case("quadratick", "L2O-DM", "training", "ours"), SETTINGS) as worker,
        pytest.raises(ValueError, match=r"quadratick.*did you mean quadratic"),
    ):
        worker.start()


def test_a_dead_worker_is_reported_with_what_it_said():
    with (
        Worker(("one", "name too few", "training"), SETTINGS) as worker,
        pytest.raises(RuntimeError, match=r"one / name too few / training died:[\s\S]*TypeError"),
    ):
        worker.start()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnist", "L2O-DM", "training", "adam"), "nothing to measure"),
        (("mnist", "L2O-DM", "train", "ours"), "Received --phase=train, .* Did you mean training"),
    ],
)
def test_groups_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        groups(*arguments)


def groups(*names):
    """The groups of options as a user gives them."""
    asked = dict(zip(("problem", "optimizer", "phase", "method"), names, strict=True))
    return bench_unroll.make_groups({name: value.split(",") for name, value in asked.items()})


def test_windows_that_do_not_fit():
    done = bench("--num_steps=30")
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a multiple of --unroll_length=20" in done.stderr


def test_groups_compare_the_same_work():
    found = groups("simple,mnist", "L2O-DM", "training,evaluation", "plain,ours,adam")
    assert [[case.method for case in group] for group in found] == 2 * [["plain", "ours"], ["plain", "ours", "adam"]]
    assert {len({case[:3] for case in group}) for group in found} == {1}


def test_methods_that_a_problem_or_an_optimizer_does_not_have_are_left_out():
    for problem, optimizer, expected in (
        ("mnist", "L2O-DM", ["floor", "ours", "sampled8-xla", "jax"]),
        ("quadratic", "L2O-DM", ["floor", "ours", "sampled8-xla"]),
        ("mnist", "RNNprop", ["floor", "ours", "sampled8-xla"]),
        ("mnist", "one-of-ones-own", ["ours"]),
        ("quadratic", "L2O-Scale", ["floor", "ours"]),
    ):
        (group,) = groups(problem, optimizer, "training", "floor,ours,sampled8-xla,jax")
        assert [case.method for case in group] == expected


def test_where_there_is_no_jax_the_row_says_so(monkeypatch):
    monkeypatch.setattr(peers, "interpreter", lambda: None)
    (row,) = bench_unroll.measure([Case("mnist", "L2O-DM", "training", "jax")], SETTINGS, 1)
    assert row["note"].startswith("no JAX here")
    lines = bench_unroll.table(run(results=[{**ROW, **TIMES}, row])).splitlines()
    assert lines[-1].split(maxsplit=4)[3:] == ["jax", row["note"]]


def test_every_case_has_every_place_in_a_round(monkeypatch):
    order = []

    class Recorder:
        def __init__(self, case, settings):
            self.method = case.method

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            return None

        def start(self):
            return {}

        def run(self):
            order.append(self.method)
            return {"seconds": 1.0, "peak_mib": 2.0}

    monkeypatch.setattr(bench_unroll, "Worker", Recorder)
    (group,) = groups("mnist", "L2O-DM", "training", "plain,ours,second")
    bench_unroll.measure(group, SETTINGS, 6)
    rounds = np.reshape(order[3:], [6, 3])  # after one round that is not counted
    assert {tuple(np.unique(place, return_counts=True)[1]) for place in rounds.T} == {(2, 2, 2)}
    assert {tuple(sorted(turn)) for turn in rounds} == {("ours", "plain", "second")}


def test_every_method_can_be_made():
    elsewhere = {"floor", "jax"}
    for phase, made in (("training", cases.LESSONS), ("evaluation", cases.EVALUATIONS)):
        known = {name.removesuffix("-xla") for name in bench_unroll.METHODS[phase]}
        assert known == set(made) | elsewhere


@pytest.mark.parametrize("method", ["plain-xla", "adam"])
def test_an_evaluation_does_the_same_every_time(method):
    repetition, facts = cases.prepare(Case("quadratic", "L2O-DM", "evaluation", method), SETTINGS)
    assert facts == {"data": None, "coordinates": 1280, "device": "cpu"}
    assert np.isfinite(repetition())
    assert repetition() == repetition()


def test_a_training_trains():
    repetition, _ = cases.prepare(Case("quadratic", "L2O-DM", "training", "plain-xla"), SETTINGS)
    assert repetition() > repetition() > repetition()


def test_the_baseline_computes_the_same_as_ours():
    problem, student = make_problem("quadratic", batch_size=4, num_dims=3), make_optimizer("L2O-DM")
    both = (
        plain.own_trajectory(problem, student),
        lessons.own_trajectory(problem, student, objective=objectives.total),
    )
    theirs, ours = (lesson.window(lesson.start(make_seed(1), 0), make_seed(2), 3)[1] for lesson in both)
    np.testing.assert_allclose(theirs.losses, ours.losses, rtol=1e-6)
    np.testing.assert_allclose(theirs.meta_loss, ours.meta_loss, rtol=1e-6)
    for their, our in zip(theirs.gradients, ours.gradients, strict=True):
        assert np.abs(our).max() > 0
        np.testing.assert_allclose(their, our, rtol=0, atol=1e-5 * np.abs(our).max())


def test_times_per_step_and_ratios_within_a_round():
    summary = bench_unroll.summarize(["plain", "ours"], [[0.1, 0.4, 0.2], [0.2, 0.2, 0.3]], num_steps=100)
    assert summary[0] == {"ms_median": 2.0, "ms_min": 1.0, "ratio": 1.0, "floor_ratio": None}
    assert summary[1] == pytest.approx({"ms_median": 2.0, "ms_min": 2.0, "ratio": 1.5, "floor_ratio": None})
    assert bench_unroll.summarize(["ours"], [[0.1]], num_steps=1)[0]["ratio"] is None
    assert bench_unroll.summarize(["floor", "ours"], [[0.1], [0.3]], num_steps=1)[1]["floor_ratio"] == pytest.approx(3)


def test_nothing_is_faster_than_a_floor(monkeypatch, capsys, tmp_path):
    """What does less work has no ratio to it."""
    methods, path = ["floor", "ours-xla", "adam-xla", "sampled8-xla"], tmp_path / "history.jsonl"
    summary = bench_unroll.summarize(methods, [[1.0], [0.97], [0.1], [0.2]], num_steps=1)
    assert [row["floor_ratio"] for row in summary] == [1.0, 0.97, None, None]
    rows = [{**ROW, **row, "method": method} for method, row in zip(methods, summary, strict=True)]
    assert bench_unroll.below_floor([{**rows[1], "floor_ratio": 0.98}]) == []
    monkeypatch.setattr(bench_unroll, "measure", lambda *_: rows)
    values = flags.FlagValues()
    bench_unroll.define_flags(values)
    values(["bench", "--problem=mnist", "--optimizer=L2O-DM", "--phase=training", f"--history={path}"])
    assert bench_unroll.main(values) == 1
    told = capsys.readouterr()
    assert "ERROR: mnist / L2O-DM / training / ours-xla takes 0.97 of its floor" in told.err
    assert "0.970" in told.out and not path.exists()
    rows[1]["floor_ratio"] = 1.01
    assert bench_unroll.main(values) == 0 and path.exists()


def run(median=2.0, **changes):
    made_by = {"date": "2025-01-31", "commit": "0123456789abcdef", "dirty": True, "versions": {"tensorflow": "2.21.0"}}
    asked = {"num_steps": 100, "unroll_length": 20, "repetitions": 5}
    rows = [{**ROW, **TIMES, "ms_median": median, "device": "cpu"}]
    return history.append("", made_by, asked, 0.01, rows) | changes


def test_the_table_has_aligned_columns():
    lines = bench_unroll.table(run()).splitlines()
    assert lines[-4].endswith(
        "tensorflow 2.21.0; commit 0123456789 with changes, 2025-01-31. Load before the run: 0.01."
    )
    heading, row = lines[-2:]
    assert row.index("12.3") + len("12.3") == heading.index("peak MiB") + len("peak MiB")


def test_the_document_gets_the_newest_numbers_and_is_written_twice_alike():
    text = (ROOT / "docs" / "performance.md").read_text()
    ours = {"method": "ours-xla", "ms_median": 12.345, "ratio": 0.8, "floor_ratio": 2.0, "peak_mib": 1234.5}
    runs = [run(), run(results=[ROW | ours, ROW | {"method": "plain", "ms_median": 15.0}])]
    written = document.write(text, runs)
    assert document.write(written, runs) == written
    assert "| mnist | L2O-DM | training | 12.3 |  | 15.0 |  |  |  | 2.00 | 1.25 |  | 1,234 |  |  |" in written
    assert history.source(runs[0]) in written
    with pytest.raises(ValueError, match="without the lines"):
        document.write(text.replace(document.END, ""), runs)
