"""The tables of the reproduction: what is in the result files, and nothing else."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags

import reproduce
from l2o_tf import checkpoint
from l2o_tf.optimizers import make_optimizer


def result(problem="mnist", optimizer="L2O-X", mean=-1.234, diverged=0.1):
    at = [{"step": step, "mean": mean, "std": 0.5, "diverged": diverged} for step in (100, 10_000)]
    return {"problem": problem, "optimizer": optimizer, "data": "mnist/test", "summary": {"runs": 10, "at": at}}


def test_a_row_has_the_measured_steps_only():
    row = next(line for line in reproduce.tables([result()]).splitlines() if "L2O-X | 10" in line)
    assert row == "| L2O-X | 10 | -1.23 ± 0.50 |  |  |  | -1.23 ± 0.50 | 10% |"


def test_runs_that_all_diverged_have_no_mean():
    assert "| L2O-X | 10 |  |  |  |  |  | 100% |" in reproduce.tables([result(mean=None, diverged=1.0)])


def test_at_a_glance():
    """Ours, released and the paper's in one cell; what is not known is a dash, and variants are not there."""
    found = [result("mnist", name, mean) for name, mean in (("L2O-DM", -0.5), ("dm (original)", -0.25), ("Adam", None))]
    found += [result("mnist", "L2O-DM (seed 1)", -9.0), result("digits", "L2O-DM", -2.0)]
    lines = reproduce.tables(found).partition("### mnist")[0].splitlines()
    assert lines[4:] == [
        "| optimizer | mnist | digits |",
        "|---|---|---|",
        "| Adam |  |  |",
        "| L2O-DM | -0.50 / -0.25 / 0.08 | -2.00 / – / – |",
        "",
    ]


def test_variants_have_a_table_of_their_own():
    shown, _, variants = reproduce.tables([result(), result(optimizer="L2O-X (seed 1)")]).partition("Variants:")
    assert "L2O-X (seed 1)" in variants and "L2O-X (seed 1)" not in shown


def test_the_paper_stands_beside():
    table = reproduce.tables([result("mnist_relu")])
    assert "| *paper: L2O-DM-CL-IL* | 10 |  |  | -3.76 | -6.45 | -7.03 | |" in table
    assert "-10.95" not in table


def test_problems_in_the_order_of_the_paper():
    table = reproduce.tables([result(name) for name in ("digits", "cifar_conv", "lenet", "mnist", "mnist_conv")])
    glance, *headings = [line[4:] for line in table.splitlines() if line.startswith("### ")]
    assert glance == "At a glance" and headings == ["mnist", "mnist_conv", "cifar_conv", "lenet", "digits"]


def test_only_the_tables_of_the_document_change(tmp_path):
    document = tmp_path / "reproduction.md"
    document.write_text(f"before\n{reproduce.BEGIN}\nold\n{reproduce.END}\nafter\n")
    for _ in range(2):
        reproduce.write_document([result()], document)
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count("| L2O-X | 10 |") == 1


def test_a_document_without_marks(tmp_path):
    document = tmp_path / "reproduction.md"
    document.write_text("text")
    with pytest.raises(ValueError, match="expected the lines"):
        reproduce.write_document([result()], document)
    assert document.read_text() == "text"


def flag_values(*arguments):
    values = flags.FlagValues()
    reproduce.define_flags(values)
    values(["reproduce.py", *arguments])
    return values


def test_two_that_would_share_a_result_file(tmp_path, monkeypatch):
    monkeypatch.setattr("l2o_tf.evaluation.evaluate", lambda *args, **options: pytest.fail("evaluated"))
    monkeypatch.setattr("problems.make_problem", lambda name, **options: SimpleNamespace(name=name))
    paths = []
    for folder in ("a", "b"):
        paths.append(tmp_path / folder / "dm.npz")
        paths[-1].parent.mkdir()
        np.savez(paths[-1], **checkpoint.named_weights(make_optimizer("L2O-DM")))
    optimizers = ",".join(map(str, paths))
    with pytest.raises(ValueError, match=r"'dm \(original\)'.* two would share a result file"):
        reproduce.evaluate_missing(flag_values(f"--optimizer={optimizers}", f"--results={tmp_path}"))


def test_evaluation_is_resumed(tmp_path, monkeypatch):
    """Nothing is evaluated where a result file exists, and nothing twice."""
    values = flag_values("--optimizer=adam,adam", "--problem=mnist,mnist", f"--results={tmp_path}")
    (tmp_path / "mnist--adam.json").write_text(json.dumps(result()))
    monkeypatch.setattr("l2o_tf.evaluation.evaluate", lambda *args, **options: pytest.fail("evaluated again"))
    monkeypatch.setattr("problems.make_problem", lambda name, **options: SimpleNamespace(name=name))
    reproduce.evaluate_missing(values)
    with pytest.raises(AttributeError, match="init"):  # what is missing is begun
        (tmp_path / "mnist--adam.json").unlink()
        reproduce.evaluate_missing(values)
