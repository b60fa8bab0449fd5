"""Everything that is registered keeps its contract, and nothing is left unregistered."""

import functools
import importlib
import inspect
import pkgutil

import keras
import pytest
import tensorflow as tf

import l2o_tf
import problems
from l2o_tf.common.names import pretrained_names
from l2o_tf.keras_optimizer.held import Rounded
from l2o_tf.optimizers import (
    ANALYTIC,
    CELLS,
    COORDINATEWISE,
    HIERARCHICAL,
    Analytic,
    Assigned,
    CoordinatewiseOptimizer,
    HierarchicalOptimizer,
    Optimizer,
    make_optimizer,
)
from l2o_tf.optimizers.base import CellOptimizer
from l2o_tf.optimizers.blocks import Blocked
from l2o_tf.optimizers.cell import Cell
from l2o_tf.optimizers.lstm.cell import LSTMCell
from l2o_tf.saving.loading import load
from l2o_tf.training.lessons.self_improving import Mixture
from problems import PROBLEMS, Problem, make_problem
from tests import contracts

SMALL = {"vgg16": {"blocks": ((4, 4), (4,), (4,), (4,), (4,))}, "confocal_microscopy_3d": {"size": 6, "num_points": 2}}


def problem_of(name: str) -> Problem:
    """A registered problem with the test images of the embedded data and, where there are any, small minibatches."""
    small = {"batch_size": 8} if "batch_size" in inspect.signature(PROBLEMS[name]).parameters else {}
    return make_problem(name, mode="test", data="embedded", **small, **SMALL.get(name, {}))


optimizer_of = functools.cache(make_optimizer)

WITHOUT_DATA = [name for name in PROBLEMS if "data_options" not in inspect.signature(PROBLEMS[name]).parameters]
CALM = [
    name for name in WITHOUT_DATA if PROBLEMS[name].__module__ == "problems.toys.deepmind"
]  # one rate suits all rules

# Optimizers that are made of others; every class of optimizers is among these, the rules and the architectures.
COMPOSED = {
    "assigned": lambda: Assigned([("x_0", make_optimizer("L2O-DM")), ("*", make_optimizer("adam"))]),
    "blocked": lambda: Blocked(make_optimizer("L2O-DM"), 4),
    "rounded": lambda: Rounded(make_optimizer("RNNprop")),
    "with other meta-parameters": lambda: _at(make_optimizer("L2O-DM"), 2.0),
    "mixture": lambda: Mixture(make_optimizer("sgd"), [make_optimizer("adam")]),
}


def _at(optimizer: Optimizer, factor: float) -> Optimizer:
    return optimizer.at([factor * variable.value for variable in optimizer.trainable_variables])


@pytest.mark.parametrize("name", COORDINATEWISE)
def test_cells(name):
    contracts.check_cell(COORDINATEWISE[name])


@pytest.mark.parametrize("name", HIERARCHICAL)
def test_cells_that_tell_tensors_apart(name):
    contracts.check_hierarchical_cell(HIERARCHICAL[name])


@pytest.mark.parametrize("name", [*CELLS, *ANALYTIC])
def test_optimizers(name):
    contracts.check_optimizer(make_optimizer(name), make_problem("digits", batch_size=8))


def test_optimizers_made_of_others():
    contracts.check_optimizer(COMPOSED["assigned"](), make_problem("simple_multi_optimizer", num_dims=3))
    contracts.check_optimizer(COMPOSED["blocked"](), make_problem("quadratic", batch_size=2), steps=3)
    contracts.check_optimizer(COMPOSED["with other meta-parameters"](), make_problem("digits", batch_size=8))
    contracts.check_optimizer(COMPOSED["mixture"](), make_problem("quadratic", batch_size=2), steps=3)


@pytest.mark.parametrize("name", [*ANALYTIC, *pretrained_names()])
def test_one_bad_gradient_entry_spoils_no_other(name):
    contracts.check_one_bad_entry(load(name))


@pytest.mark.parametrize("name", [*CELLS, *ANALYTIC, "assigned"])
def test_an_optimizer_can_be_made_again_from_what_it_says_of_itself(name):
    optimizer = COMPOSED[name]() if name in COMPOSED else make_optimizer(name)
    again = make_optimizer(optimizer.kind, optimizer.architecture)
    contracts.check_remake(optimizer, again, make_problem("simple_multi_optimizer"))


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems(name):
    problem = problem_of(name)
    assert problem.name == name
    contracts.check_problem(problem)


@pytest.mark.parametrize("problem", [name for name in WITHOUT_DATA if name not in CALM])
def test_adam_descends_on_every_problem_without_loaded_data(problem):
    contracts.check_descends(make_optimizer("adam"), problem_of(problem))


@pytest.mark.parametrize("problem", CALM)
@pytest.mark.parametrize("name", ANALYTIC)
def test_every_rule_descends_on_every_calm_problem(name, problem):
    rate = {} if problem != "quadratic" else {"learning_rate": 0.05}
    contracts.check_descends(make_optimizer(name, rate), problem_of(problem))


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", CELLS)
def test_every_architecture_runs_on_every_problem(name, problem):
    contracts.check_runs(optimizer_of(name), problem_of(problem))


class TestNothingIsMissing:
    """A registry that does not know of something would leave it unchecked."""

    def test_cells(self):
        found = {value for value in members(l2o_tf, inspect.isclass) if issubclass(value, keras.layers.Layer)}
        assert found == {Cell, LSTMCell, *CELLS.values()}

    def test_rules(self):
        assert factories(l2o_tf, Analytic) == set(ANALYTIC.values())

    def test_classes_of_optimizers(self):
        found = {value for value in members(l2o_tf, inspect.isclass) if issubclass(value, Optimizer)}
        plain = {Optimizer, CellOptimizer, CoordinatewiseOptimizer, HierarchicalOptimizer, Analytic}
        assert found == plain | {type(make()) for make in COMPOSED.values()}

    def test_problems(self):
        assert factories(problems, Problem) == set(PROBLEMS.values())


def members(package, predicate) -> set:
    """All classes or functions that are defined in a package."""
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    return {
        v for module in modules for _, v in inspect.getmembers(module, predicate) if v.__module__ == module.__name__
    }


def factories(package, made: type) -> set:
    """Public functions of a package that return `made` and need no argument."""
    found = set()
    for function in members(package, inspect.isfunction):
        signature = inspect.signature(function)
        needed = [p for p in signature.parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        if signature.return_annotation is made and not needed and not function.__name__.startswith("_"):
            found.add(function)
    return found


class TestTheContractsNotice:
    """Each check fails on something that breaks it."""

    def test_a_cell_whose_coordinates_see_each_other(self):
        class Leaky(CELLS["L2O-DM"]):
            def call(self, inputs, states):
                updates, states = super().call(inputs, states)
                return updates + tf.cumsum(updates), states

        with pytest.raises(AssertionError):
            contracts.check_cell(Leaky)

    def test_a_cell_that_forgets_an_argument(self):
        class Forgetful(CELLS["L2O-DM"]):
            def get_config(self):
                return super().get_config() | {"preprocess": "identity"}

        with pytest.raises((AssertionError, ValueError, TypeError)):
            contracts.check_cell(Forgetful)

    @pytest.mark.parametrize(
        "update",
        [
            lambda grads, state, params: (dict(reversed(grads.items())), state),
            lambda grads, state, params: ({key: tf.cast(g, tf.float64) for key, g in grads.items()}, state),
            lambda grads, state, params: ({key: g * float("nan") for key, g in grads.items()}, state),
            lambda grads, state, params: ({key: 0.0 * g for key, g in grads.items()}, state),
            lambda grads, state, params: ({key: -0.1 * g for key, g in grads.items()}, [state]),
            lambda grads, state, params: ({key: -tf.random.uniform([]) * g for key, g in grads.items()}, state),
        ],
        ids=["order", "dtype", "nan", "rest", "structure of the state", "chance"],
    )
    def test_a_broken_optimizer(self, update):
        broken = Analytic("broken", lambda params: tf.zeros([], tf.int32), update)
        with pytest.raises((AssertionError, ValueError, TypeError)):
            contracts.check_optimizer(broken, make_problem("simple_multi_optimizer"))

    def test_a_rule_that_climbs(self):
        climber = Analytic("climber", lambda params: (), lambda grads, state, params: (grads, state))
        with pytest.raises(AssertionError):
            contracts.check_descends(climber, make_problem("simple"), steps=5)

    @pytest.mark.parametrize(
        "change",
        [
            {"init": lambda seed: ({"x": tf.random.normal([])}, ())},
            {"sample": lambda seed, num_steps: tf.zeros([2 * num_steps])},
            {"loss": lambda params, constants, batch: tf.sqrt(params["x"] - 1.0)},
            {"loss": lambda params, constants, batch: tf.square(params["x"])[None]},
            {"loss": lambda params, constants, batch: tf.constant(1.0)},
            {"measure": lambda params, constants, part=None: {"loss": tf.constant(1.0)}},
        ],
        ids=["chance", "length", "slope", "vector", "flat", "half an answer"],
    )
    def test_a_broken_problem(self, change):
        with pytest.raises((AssertionError, ValueError, TypeError)):
            contracts.check_problem(make_problem("simple")._replace(**change))

    def test_what_is_sound_passes(self):
        contracts.check_problem(make_problem("simple"))
        contracts.check_optimizer(
            Analytic("sound", lambda params: (), lambda g, state, params: ({k: -0.1 * v for k, v in g.items()}, state)),
            make_problem("simple"),
        )
