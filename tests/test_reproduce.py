"""The tables of the reproduction: what is in the result files, and nothing else."""

import json

import pytest

from l2o_tf.cli import reproduce
from l2o_tf.common import folders
from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving import named_weights, save_weights
from problems import make_problem
from tests import scripts

PROBLEM = make_problem("quadratic")._replace(data="mnist/test")


def result(problem="mnist", optimizer="L2O-X", mean=-1.234, diverged=0.1):
    at = [{"step": step, "mean": mean, "std": 0.5, "diverged": diverged} for step in (100, 10_000)]
    return {
        "problem": problem,
        "optimizer": optimizer,
        "data": "mnist/test",
        "summary": {"runs": 10, "steps": 10_000, "at": at},
    }


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


def test_what_is_recorded_is_called_so():
    """On the same problems, and no variants of it."""
    names = [("mnist", "L2O-X"), ("mnist", "L2O-X (seed 1)"), ("mnist", "dm (original)"), ("digits", "L2O-X")]
    table = reproduce.tables([result()], [result(*each, mean=-5.0) for each in names])
    rows = [line.split(" | ")[0] for line in table.partition("### mnist")[2].splitlines() if line.startswith("| ")]
    assert rows[:4] == ["| optimizer", "| L2O-X", "| *recorded: L2O-X*", "| *recorded: dm (original)*"]
    assert "seed 1" not in table and "### digits" not in table


@pytest.fixture
def unevaluated(monkeypatch):
    """Nothing may be evaluated, and all problems are one, by other names."""
    monkeypatch.setattr("l2o_tf.evaluating.comparison.run_each", lambda pairs, *args, **options: iter(map(fail, pairs)))
    monkeypatch.setattr("problems.make_problem", lambda name, **options: PROBLEM._replace(name=name))


def fail(pair):
    raise ValueError(f"evaluates {pair.names}")


def written(folder, text=None, name="mnist--adam.json"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(result(optimizer="adam")) if text is None else text)
    return f"--results={folder}"


@pytest.mark.usefixtures("unevaluated")
class TestTheCommand:
    options = ("--optimizer=adam,adam", "--problem=mnist,mnist")

    def test_what_is_there_is_kept_and_said(self, tmp_path):
        """Nothing is evaluated where a result file exists."""
        (tmp_path / "mnist--adam.pair.npz").write_bytes(b"left by a kill")
        answer = scripts.call(reproduce, *self.options, written(tmp_path))
        assert answer.code == 0 and f"Not run again, since {tmp_path} has it: mnist--adam.json." in answer.err
        assert "| adam | 10 | -1.23" in answer.out and "| *recorded: Adam* | 10 | -0.44" in answer.out
        assert [path.name for path in tmp_path.iterdir()] == ["mnist--adam.json"]

    def test_what_is_recorded_is_evaluated_nonetheless(self, tmp_path, monkeypatch):
        """By default nothing that is part of the project is read as a result, or written."""
        monkeypatch.chdir(tmp_path)
        answer = scripts.refused(reproduce, "--optimizer=Adam", "--problem=mnist")
        assert "evaluates ('mnist', 'Adam')" in answer and (tmp_path / "results" / "reproduction").is_dir()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("--num_steps=100", "(num_steps: 10000 there, 100 now)"),
            ("--num_runs=3", "(num_runs: 10 there, 3 now)"),
        ],
    )
    def test_a_result_of_something_else_is_not_taken(self, tmp_path, arguments, words):
        assert words in scripts.refused(reproduce, *self.options, arguments, written(tmp_path))

    def test_a_result_of_other_weights_is_not_taken(self, tmp_path):
        other = {"rule": "adam", "architecture": {}, "weights": "0123", "files": {}}
        identity = {"problem": {"data": "mnist/test", "file": None}, "optimizer": other}
        record = json.dumps(result(optimizer="adam") | {"identity": identity})
        answer = scripts.refused(reproduce, *self.options, written(tmp_path, record))
        assert "a result of something else (weights: 0123 there, nothing now)" in answer

    @pytest.mark.parametrize(
        "text",
        ["{}", "[]", "", json.dumps(result() | {"summary": {}}), json.dumps(result() | {"problem": 1})],
    )
    def test_what_is_no_result_file(self, tmp_path, text):
        folder = written(tmp_path, text, "other.json")
        assert "other.json, which is damaged or no result file" in scripts.refused(reproduce, folder)

    def test_a_folder_in_use_or_without_results(self, tmp_path):
        assert "without result files, and no --optimizer" in scripts.refused(reproduce, f"--results={tmp_path}")
        with folders.alone_in(tmp_path):
            answer = scripts.refused(reproduce, *self.options, f"--results={tmp_path}")
        assert f"--results={tmp_path}, where another process is at work" in answer

    def test_a_document_is_looked_at_first(self, tmp_path):
        document = tmp_path / "document.md"
        options = ("--optimizer=Adma", f"--results={tmp_path / 'results'}", f"--document={document}")
        assert "expected a file that can be written" in scripts.refused(reproduce, *options)
        document.write_text("text")
        assert "expected the lines" in scripts.refused(reproduce, *options)
        assert document.read_text() == "text" and not (tmp_path / "results").exists()

    def test_only_the_tables_of_the_document_change(self, tmp_path):
        document = tmp_path / "document.md"
        document.write_text(f"before\n{reproduce.BEGIN}\nold\n{reproduce.END}\nafter\n")
        for _ in range(2):
            assert scripts.call(reproduce, written(tmp_path / "own"), f"--document={document}").code == 0
        text = document.read_text()
        assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
        assert text.count("| adam | 10 |") == 1 and "recorded" not in text

    def test_two_that_would_share_a_result_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        paths = [tmp_path / "a b", tmp_path / "a_b"]
        for path in paths:
            save_weights(path, named_weights(make_optimizer("L2O-DM")), {"optimizer": "L2O-DM", "architecture": {}})
        answer = scripts.refused(reproduce, "--optimizer=a b,a_b", f"--results={tmp_path}")
        assert "['a b', 'a_b']" in answer and "two would share a result file" in answer


def test_the_document_of_the_project_has_its_marks():
    assert all(reproduce.around_tables(scripts.ROOT / "docs" / "reproduction-tables.md"))


def test_an_interrupted_command_continues(tmp_path, monkeypatch):
    """After the last run that was done; a result file then has all runs."""
    really, begun = rollouts.run, []

    def run(*args, first_run, **options):
        begun.append(first_run)
        if begun == [0, 1]:
            raise KeyboardInterrupt
        return really(*args, first_run=first_run, **options)

    monkeypatch.setattr(rollouts, "run", run)
    monkeypatch.setattr("l2o_tf.common.devices.cores", lambda: 1)
    monkeypatch.setattr("l2o_tf.evaluating.comparison.LEAST_STEPS", 1)
    monkeypatch.setattr("l2o_tf.evaluating.comparison.SECONDS", 0.0)
    command = ("--optimizer=Adam", "--problem=simple", "--num_runs=2", "--num_steps=10", f"--results={tmp_path}")
    assert scripts.call(reproduce, *command).code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["simple--Adam.pair.npz"]
    answer = scripts.call(reproduce, *command)
    assert answer.code == 0 and begun == [0, 1, 1] and "| Adam | 2 |" in answer.out
    assert [path.name for path in tmp_path.iterdir()] == ["simple--Adam.json"]
    found = json.loads((tmp_path / "simple--Adam.json").read_text())
    expected = {"problem", "optimizer", "data", "identity", "summary", "meta_training", "provenance"}
    assert found.keys() == expected and found["summary"]["runs"] == 2
