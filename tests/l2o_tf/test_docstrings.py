"""Examples in docstrings do what they say: those of public names, and those of `l2o_tf.common`."""

import doctest
import importlib
import pkgutil

import pytest

import l2o_tf
import l2o_tf.common

COMMON = [module.name for module in pkgutil.iter_modules(l2o_tf.common.__path__, "l2o_tf.common.")]


@pytest.mark.parametrize("name", ["Guard", "LearnedOptimizer", "list_pretrained", "load", "save"])
def test_public_names(name):
    value, runner = getattr(l2o_tf, name), doctest.DocTestRunner()
    examples = doctest.DocTestFinder(recurse=False).find(value, name, globs={value.__name__: value})
    assert sum(runner.run(example).attempted for example in examples)
    assert not runner.failures


@pytest.mark.parametrize("name", COMMON)
def test_helpers(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
