"""The examples in the docstrings of public names and of `l2o_tf.common` run, and give what they say."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import l2o_tf
import l2o_tf.common

NAMES = [name for name in dir(l2o_tf) if not name.startswith("_") and not hasattr(vars(l2o_tf).get(name), "__path__")]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = getattr(l2o_tf, name)
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        pytest.skip("neither a class nor a function")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder(exclude_empty=True).find(found, name, globs={"l2o_tf": l2o_tf}):
        runner.run(example)
    assert not runner.failures


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(l2o_tf.common.__path__)])
def test_helpers(name):
    assert doctest.testmod(importlib.import_module(f"l2o_tf.common.{name}")).failed == 0
