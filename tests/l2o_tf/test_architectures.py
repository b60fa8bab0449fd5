"""Which options mean something to which architecture, and that they reach it."""

import pytest

from l2o_tf.cli.assembly import make_student
from l2o_tf.cli.config import FIELDS, Config, resolve
from l2o_tf.common.descriptions import ARCHITECTURES, arguments, integers, numbers, options, takers, untaken
from l2o_tf.optimizers import CELLS

PAIRS = [(kind, option) for kind, options in ARCHITECTURES.items() for option in options]
OTHERS = {  # a value of each option that is not its default
    "layers": "4,3",
    "preprocess": "Clamp",
    "log_and_sign_k": 10.0,
    "output_scale": 0.5,
    "beta_1": 0.5,
    "beta_2": 0.25,
    "feature_order": "gm",
    "projection_stddev": 0.3,
    "levels": "5,6",
    "time_scales": 3,
    "initial_learning_rates": "1e-4,1e-3",
    "max_log_learning_rate": 2.0,
    "dynamic_learning_rates": False,
    "learn_input_decay": False,
    "learn_scale_decay": False,
    "learn_initial_vectors": False,
    "scale_decay_per_time_scale": True,
    "gradient_products": False,
    "log_mean_squares": False,
    "relative_learning_rate": "tensor",
    "extreme_learning_rate": True,
    "learning_rate_shortcut": True,
    "gradient_shortcut": False,
    "global_input": "mean",
    "zero_learning_rate_weights": False,
}


def test_every_architecture_is_in_the_table():
    assert ARCHITECTURES.keys() == CELLS.keys()
    assert {option for _, option in PAIRS} == OTHERS.keys() <= FIELDS.keys()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_defaults_of_options_are_those_of_the_architecture(kind):
    cell, default = CELLS[kind](**arguments(kind, Config().to_dict())), CELLS[kind]()
    assert cell.get_config() | {"name": ""} == default.get_config() | {"name": ""}


@pytest.mark.parametrize(("kind", "option"), PAIRS)
def test_an_option_changes_its_argument_and_nothing_else(kind, option):
    needed = {"relative_learning_rate": "none"} if option == "dynamic_learning_rates" else {}
    usual, other = (resolve({"optimizer": kind, **needed, **given}) for given in ({}, {option: OTHERS[option]}))
    before, after = make_student(usual).architecture, make_student(other).architecture
    changed = {name for name in before if before[name] != after[name]} - {"name"}
    assert changed == {ARCHITECTURES[kind][option].argument}


@pytest.mark.parametrize(("kind", "option"), PAIRS)
def test_options_of_an_architecture_give_it_again(kind, option):
    needed = {"relative_learning_rate": "none"} if option == "dynamic_learning_rates" else {}
    config = resolve({"optimizer": kind, **needed, option: OTHERS[option]})
    found = options(kind, make_student(config).architecture, Config().to_dict())
    assert arguments(kind, found) == arguments(kind, config.to_dict())
    assert {name: value for name, value in config.to_dict().items() if name in found and name != option} == {
        name: value for name, value in found.items() if name != option
    }


def test_there_are_no_options_for_a_cell_of_ones_own():
    assert options("some/own.py:Cell", {"units": 3}, {}) == {}


@pytest.mark.parametrize("option", OTHERS)
def test_an_option_of_another_architecture_is_refused(option):
    for kind in ARCHITECTURES.keys() - set(takers(option)):
        with pytest.raises(ValueError, match=f"^Received --{option} with {kind}, .* it is for {takers(option)[0]}"):
            resolve({"optimizer": kind, option: FIELDS[option].default})
    for kind in takers(option):
        resolve({"optimizer": kind, option: OTHERS[option]})


def test_one_taker_among_the_assigned_optimizers_is_enough():
    assert resolve({"net_assignments": "b=L2O-DM,*=RNNprop", "beta_1": 0.5}).beta_1 == 0.5
    with pytest.raises(ValueError, match="Received --beta_1 with L2O-DM and adam, .* it is for RNNprop"):
        resolve({"net_assignments": "b=L2O-DM,*=adam", "beta_1": 0.5})


def test_options_for_all_are_always_taken_and_unknown_optimizers_are_somebody_elses_matter():
    assert takers("seed") == []
    assert untaken(["seed", "layers", "beta_1"], ["L2O-DM"]) == ["beta_1"]
    assert untaken(["layers", "beta_1"], ["RNNpropp"]) == []


def test_each_assigned_architecture_gets_its_own_arguments():
    student = make_student(resolve({"net_assignments": "b=L2O-DM,*=RNNprop", "layers": "3", "beta_2": 0.5}))
    (_, _, dm), (_, _, rnnprop) = student.architecture["assignments"]
    assert dm["layers"] == rnnprop["layers"] == (3,)
    assert rnnprop["beta_2"] == 0.5 and "beta_2" not in dm


def test_integers():
    assert integers("20,20") == (20, 20)
    assert integers("") == ()


def test_numbers():
    assert numbers("1e-6,0.01") == (1e-6, 0.01)
    assert numbers("") == ()
