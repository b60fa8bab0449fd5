"""The examples in docstrings run: those of the public API as a user would type them, the others in their module."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import l2o_tf
from docs.api import build

ROOT = Path(__file__).resolve().parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PUBLIC = build.public_names(l2o_tf)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("l2o_tf", "problems", "benchmarks")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text()
)


def run(test: doctest.DocTest) -> None:
    runner, told = doctest.DocTestRunner(optionflags=FLAGS), []
    runner.run(test, out=told.append)
    assert not runner.failures, "".join(told)


def example_of(name: str) -> doctest.DocTest:
    """The example of a public name. It has to import what it uses."""
    return doctest.DocTestParser().get_doctest(inspect.getdoc(getattr(l2o_tf, name)) or "", {}, name, None, 0)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = example_of(name)
    assert example.examples, "Give it an `Example:` section of >>> lines in its docstring."
    run(example)


@pytest.mark.parametrize("module", MODULES)
def test_other_examples_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public = {inspect.getdoc(getattr(l2o_tf, name)) for name in PUBLIC}
    for test in doctest.DocTestFinder().find(importlib.import_module(module)):
        if inspect.cleandoc(test.docstring) not in public:
            run(test)


def test_a_wrong_example_is_found():
    parser = doctest.DocTestParser()
    run(parser.get_doctest(">>> 1 + 1\n2", {}, "right", None, 0))
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run(parser.get_doctest(">>> 1 + 1\n3", {}, "wrong", None, 0))
