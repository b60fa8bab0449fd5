"""What results say about the program that made them."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from l2o_tf import saving
from l2o_tf.saving.provenance import RUNNING, program_in

UNKNOWN = {"commit": None, "dirty": None}
COMMIT = "-c user.name=n -c user.email=e@x commit -q -m m"


def git(folder, *commands):
    for command in commands:
        subprocess.run(["git", "-C", str(folder), *command.split()], check=True)


class TestProvenance:
    @pytest.fixture
    def checkout(self, tmp_path):
        (tmp_path / "program.py").write_text("x = 1\n")
        git(tmp_path, "init -q", "add program.py", COMMIT)
        return tmp_path

    def test_results_do_not_make_it_dirty_but_program_files_do(self, checkout):
        assert len(program_in(checkout)["commit"]) == 40
        (checkout / "result.json").touch()
        assert program_in(checkout)["dirty"] is False
        (checkout / "new.py").touch()
        assert program_in(checkout)["dirty"] is True
        (checkout / "new.py").unlink()
        (checkout / "program.py").write_text("x = 2\n")
        assert program_in(checkout)["dirty"] is True

    def test_no_commit_of_somebody_elses_checkout(self, checkout):
        (checkout / "site-packages").mkdir()
        assert program_in(checkout / "site-packages") == UNKNOWN

    def test_without_git(self, checkout, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert program_in(checkout) == UNKNOWN

    def test_before_the_first_commit(self, tmp_path):
        git(tmp_path, "init -q")
        assert program_in(tmp_path) == UNKNOWN

    def test_it_is_of_the_program_that_runs_whatever_is_committed_meanwhile(self, checkout):
        module = checkout / "l2o_tf" / "saving" / "provenance.py"
        module.parent.mkdir(parents=True)
        shutil.copy(Path(saving.__file__).parent / "provenance.py", module)
        git(checkout, "add .", COMMIT)
        before = program_in(checkout)
        spec = importlib.util.spec_from_file_location("started", module)
        started = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(started)
        (checkout / "program.py").write_text("x = 2\n")
        git(checkout, "add .", COMMIT)
        (checkout / "new.py").touch()
        record = started.provenance()
        assert program_in(checkout)["commit"] != before["commit"]
        assert {name: record[name] for name in before} == before == {**before, "dirty": False}

    def test_by_default_it_is_of_this_program(self):
        record = saving.provenance()
        assert {name: record[name] for name in RUNNING} == RUNNING
        assert record["date"].endswith("+00:00")
        assert set(record["versions"]) == {"l2o_tf", "python", "tensorflow", "keras", "numpy"}
        assert record["versions"]["numpy"] == np.__version__
        json.dumps(record)
