"""The study runner: which tasks there are, what is done at the same time, and what a second command repeats."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from l2o_tf.cli import children, console, evaluate, meta_train, study, study_tasks
from l2o_tf.common import summary
from l2o_tf.evaluating import results
from tests import scripts

TINY = """--problem=simple
--architecture=layers=2
--unroll_length=4
--num_steps=8
--num_epochs=2
--evaluation_period=1
--num_runs_validation=2
--data=embedded
--output_dir=somewhere/else
"""

EVALUATE = ["--problem=simple,quadratic", "--num_steps=60", "--num_runs=2"]


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(children, "SECONDS", 0.02)


@pytest.fixture
def command(tmp_path):
    """Of a study of two recipes, which are alike."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.flags").write_text(TINY)
    return [
        str(tmp_path / "a.flags"),
        str(tmp_path / "b.flags"),
        "--seeds=1,2",
        "--problem=",
        f"--output_dir={tmp_path / 'study'}",
    ]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Trainings that only say their arguments; that of a-s2 fails."""
    code = "import os, sys; print(sys.argv[1:]); folder = sys.argv[-1].partition('=')[2]; os.makedirs(folder); "
    code += "sys.exit('cannot be trained\\n' if 'a-s2' in folder else 0)"
    monkeypatch.setattr(study_tasks, "script", lambda name, *arguments: [*python(code), name, *arguments])
    return tmp_path / "study"


class TestTasks:
    def test_recipes_by_settings_by_seeds(self, command):
        settings = ("--setting=k1:", "--setting=k2: --meta_batch_size=2 --learning_rate=0.01")
        answer = scripts.call(study, *command, *settings, "--list")
        names = [line.split()[:2] for line in answer.out.splitlines()]
        assert names == [
            *(["0", "a-k1-s1"], ["1", "a-k2-s1"], ["2", "b-k1-s1"], ["3", "b-k2-s1"]),
            *(["4", "a-k1-s2"], ["5", "a-k2-s2"], ["6", "b-k1-s2"], ["7", "b-k2-s2"]),
        ]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--index=4"], "Received --index=4, expected 0 to 3: there are 4 tasks."),
            (["--index=1", "--table_only"], "Received --table_only with --index"),
            (["--index=-1"], "Received --index=-1, expected 0 to 3"),
            (["--seeds=1,1"], "two tasks called a-s1"),
            (["--seeds=x"], "Training of a with seed x: flag --seed=x"),
            (["--seeds="], "no recipe or no seed"),
            (["none.flags"], "none.flags"),
            (["--train_with=--num_step=3"], "Unknown command line flag 'num_step'"),
            (["--train_with=--patience=3"], "Training of a with seed 1: Received --patience without --curriculum"),
            (["--train_with=--seed=3"], "which the study sets itself"),
            (["--evaluate_with=--num_runs=3"], "Received --num_runs, which the study sets itself"),
            (["--evaluate_with=--speed=3"], "Unknown command line flag 'speed'"),
            (["--optimizer=Adam"], "Received --optimizer without a --problem"),
            (["--setting=x: 3"], "Received '3', which is no flag"),
        ],
    )
    def test_what_is_refused_before_anything_is_trained(self, command, arguments, words):
        assert words in scripts.refused(study, *command, *arguments)


class TestStudy:
    def test_a_failure_ends_no_other_task_and_is_named(self, command, fake):
        answer = scripts.call(study, *command, "--processes=2", "--train_with=--num_epochs=3")
        assert answer.code == 1
        assert f"a-s2 failed: exit code 1: cannot be trained\nIts log: {fake / 'logs' / 'a-s2.log'}\n" in answer.err
        assert "failed" not in answer.err.partition("a-s2 failed")[2]
        said = (fake / "logs" / "b-s2.log").read_text()
        assert said.endswith(f"'--num_epochs=3', '--seed=2', '--output_dir={fake / 'b-s2'}']\n")
        listed = scripts.call(study, *command, "--train_with=--num_epochs=3", "--list").out
        states = [line.split(maxsplit=2)[2] for line in listed.splitlines()]
        assert states == ["done", "done", "not begun", "done"]

    def test_what_is_finished_is_not_trained_again_unless_its_options_change(self, command, fake):
        assert scripts.call(study, *command, "--index=1").code == 0
        log = fake / "logs" / "b-s1.log"
        before = log.read_text()
        assert "Tasks that are done: 1. To do: 0." in scripts.call(study, *command, "--index=1").err
        assert log.read_text() == before
        assert "To do: 1." in scripts.call(study, *command, "--index=1", "--train_with=--learning_rate=0.1").err
        assert log.read_text() != before

    def test_a_task_is_a_run_of_the_script(self, command, tmp_path):
        (task, *_) = study_tasks.tasks(tmp_path, command[:1], ["1"], evaluate_with=EVALUATE)
        for script, arguments in played(task):
            assert scripts.call(script, *arguments).code == 0
        assert task.state == "done" and len(results.Results.read(tmp_path / "results" / "a-s1")) == 2
        assert not list(task.job().commands)

    def test_progress_is_read_from_the_records(self, command, tmp_path):
        (task, *_) = study_tasks.tasks(tmp_path, command[:1], ["1"], train_with=["--num_epochs=40"])
        folder = tmp_path / "a-s1"
        folder.mkdir()
        assert task.state == "not begun"
        lines = [f'{{"meta_epoch": {epoch}, "wall_time": 1.5}}\n' for epoch in range(30)]
        (folder / "records.jsonl").write_text("".join(lines) + '{"meta_epoch": 3')
        assert (task.epoch, task.state) == (30, "30 of at most 40 meta-epochs")
        assert task.share == 0.75 and task._replace(evaluation=task.training).share == 7.5 / 11


class TestTable:
    """Of results that are written by hand."""

    def options(self, command):
        return [*command[:-2], "--problem=p,q", "--num_steps=60", "--num_runs=2", command[-1], "--optimizer=Adam:0.01"]

    @pytest.fixture
    def written(self, command, tmp_path):
        """All of a; of b nothing but seed 1, which is not at its end; a reference on one of the problems."""
        folder = tmp_path / "study"
        for name, epochs in (("a-s1", 2), ("a-s2", 2), ("b-s1", 1)):
            history = [{"epoch": 1, "stage": 0, "cost": 0.5}]
            card = {"weights": {"sha256": name}, "stopped": "", "meta_epochs": epochs, "wall_seconds": 60.0}
            (folder / name).mkdir(parents=True)
            (folder / name / "optimizer.json").write_text(json.dumps(card | {"validation": history}))
        for name, problems in (("a-s1", "pq"), ("a-s2", "pq"), ("Adam_0.01", "p")):
            losses = np.full([2, 60], 2.0 if name == "a-s2" else 1.0, np.float32)
            settings = {"seed": 0, "num_runs": 2, "num_steps": 60, "record": "after", "full_period": 0}
            card = {} if name == "Adam_0.01" else {"weights": {"sha256": name}}
            identity = {"problem": {"data": None, "file": None}, "optimizer": {}}
            made = [
                results.PairResult(problem, name, identity, card, summary.summarize(losses), {}, losses, {})
                for problem in problems
            ]
            (folder / "results" / name).mkdir(parents=True)
            results.write(folder / "results" / name, results.Results(settings, made))
        return folder

    def test_table_picture_and_what_is_missing(self, command, written):
        answer = scripts.call(study, *self.options(command), "--table_only")
        assert answer.code == 0
        assert answer.err.splitlines() == [
            "Missing: b-s1 on p, q (not begun)",
            "Missing: b-s2 on p, q (not begun)",
            "Missing: Adam_0.01 on q (not evaluated)",
        ]
        table = (written / "table.md").read_text()
        assert answer.out.startswith(table) and "| 0.35            | 0.00 ... 0.69" in table and "b " not in table
        found = json.loads((written / "summary.json").read_text())
        assert [row["seeds"] for row in found["evaluations"]] == [2, 1, 2]
        assert (written / "study.png").stat().st_size > 10_000

    def test_results_of_earlier_weights_or_other_steps_do_not_count(self, command, written):
        card = json.loads((written / "a-s2" / "optimizer.json").read_text())
        (written / "a-s2" / "optimizer.json").write_text(json.dumps(card | {"weights": {"sha256": "other"}}))
        options = (*self.options(command), "--table_only")
        assert "Missing: a-s2 on p, q" in scripts.call(study, *options).err
        assert "Missing: a-s1 on p, q" in scripts.call(study, *options, "--num_steps=70").err

    def test_no_tensorflow_is_needed(self, command, written):
        """In an interpreter of its own; --list needs no matplotlib, either."""
        code = "import sys\nfrom l2o_tf.cli import study\nfrom tests import scripts\n"
        for flag, heavy in (("--list", "tensorflow keras matplotlib"), ("--table_only", "tensorflow keras")):
            code += f"answer = scripts.call(study, *{[*self.options(command), flag]!r})\n"
            code += f"assert answer.code == 0 and not {set(heavy.split())!r} & set(sys.modules), answer\n"
        subprocess.run(python(code), check=True, cwd=scripts.ROOT, timeout=60)

    def test_nothing_at_all(self, command):
        answer = scripts.call(study, *command, "--table_only")
        assert answer.code == 0 and "There is no table yet." in answer.err and not answer.out

    def test_a_setting_is_the_baseline_of_its_recipe(self, command):
        values = flags.FlagValues()
        study.define_flags(values)
        settings = ["--setting=k1:", "--setting=k2: --meta_batch_size=2"]
        console.parse(["study", *command, *settings, "--baseline=k1"], values, study.__name__)
        tasks = study.chosen(values)
        found = {task.arm: study.baseline(task, tasks, "k1") for task in tasks}
        assert found == {"a-k1": "a-k1", "a-k2": "a-k1", "b-k1": "b-k1", "b-k2": "b-k1"}
        assert {study.baseline(task, tasks, "a-k2") for task in tasks} == {"a-k2"}
        assert "expected one of ['a-k1'" in scripts.refused(study, *command, *settings, "--baseline=k3")


def played(task):
    """The scripts and arguments of a task's commands, one after the other."""
    for _, _, code, *arguments in task.job().commands:
        yield meta_train if "meta_train" in code else evaluate, arguments


def test_the_scripts_start_from_any_folder(tmp_path):
    for name in ("meta_train", "evaluate"):
        command = study_tasks.script(name, "--help")
        told = subprocess.run(command, cwd=tmp_path, env=scripts.environment_without("PYTHONPATH"), capture_output=True)
        assert told.returncode == 0 and f"python {name}.py".encode() in told.stdout


class TestChildren:
    def test_each_process_has_its_share_of_the_cores(self, tmp_path):
        code = "import os; print(sorted(os.sched_getaffinity(0)))"
        jobs = [children.Job(f"{n}", tmp_path / f"{n}", [python(code)] * 2) for n in range(4)]
        assert children.Children(2).run(jobs, lambda names: None) == 0
        lines = [line for job in jobs for line in job.log.read_text().splitlines()]
        assert set(lines) <= {str(sorted(share)) for share in children.shares(2)} and len(lines) == 8
        assert sorted(os.sched_getaffinity(0)) == children.cores()

    def test_shares(self, monkeypatch):
        monkeypatch.setattr(children, "cores", lambda: [1, 3, 5, 7, 9])
        assert children.shares(2) == [{1, 3}, {5, 7, 9}]
        assert children.shares(1) == [{1, 3, 5, 7, 9}]
        assert len(children.shares(7)) == 7 and all(len(share) == 1 for share in children.shares(7))

    def test_ctrl_c_is_passed_on_and_nothing_is_started_any_more(self, tmp_path):
        """The child saves when it is told to end; it is not told twice."""
        code = "import signal, time, sys; told = []; signal.signal(signal.SIGTERM, lambda *a: told.append(a))\n"
        code += "print('begun', flush=True)\nend = time.time() + 20\n"
        code += "while not told and time.time() < end: time.sleep(0.01)\n"
        code += "time.sleep(0.1); print('saved', len(told))"
        logs = [tmp_path / "first", tmp_path / "second"]
        jobs = [children.Job(log.name, log, [python(code), python("print('next')")]) for log in logs]
        seen = []

        def watch(names):
            if not seen and logs[0].exists() and logs[0].read_text() == "begun\n":
                seen.extend(names)
                os.kill(os.getpid(), signal.SIGINT)

        group = children.Children(1)
        assert group.run(jobs, watch) == signal.SIGINT
        assert seen == ["first"] and not group.failed
        assert logs[0].read_text() == "begun\nsaved 1\n" and not logs[1].exists()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
