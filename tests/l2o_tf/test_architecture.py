"""`--architecture`: what its text means to which constructor, and that it reaches it."""

import pytest

from l2o_tf.cli import architecture
from l2o_tf.cli.architecture import arguments, merged, text
from l2o_tf.cli.assembly import make_student
from l2o_tf.cli.config import resolve
from l2o_tf.optimizers import CELLS

OTHERS = {  # a value of each argument that is not its default
    "L2O-DM": {"layers": (4, 3), "preprocess": "Clamp", "k": 10.0, "scale": 0.5, "initializer": "zeros"},
    "RNNprop": {
        **{"layers": (), "projection": 3, "beta_1": 0.5, "beta_2": 0.25, "epsilon": 1e-6},
        **{"feature_order": "gm", "scale": 0.5, "projection_stddev": 0.3},
    },
    "L2O-Scale": {
        **{"levels": (5, 6), "time_scales": 3, "initial_learning_rates": (1e-4, 1e-3)},
        **{"max_log_learning_rate": 2.0, "dynamic_learning_rates": False, "learn_input_decay": False},
        **{"learn_scale_decay": False, "learn_initial_vectors": False, "scale_decay_per_time_scale": True},
        **{"gradient_products": False, "log_mean_squares": False, "relative_learning_rate": "none"},
        **{"extreme_learning_rate": True, "learning_rate_shortcut": True, "gradient_shortcut": False},
        **{"global_input": "mean", "zero_learning_rate_weights": False},
    },
}
WITH_EFFECT = {  # so that all others have an effect
    "L2O-DM": {"preprocess": "LogAndSign"},
    "L2O-Scale": {"levels": (5, 6, 7), "dynamic_learning_rates": True},
}
PAIRS = [(kind, name) for kind, values in OTHERS.items() for name in values]

FILE = """
from __future__ import annotations
import keras

class Cell(keras.layers.Layer):
    def __init__(
        self, width: int, rate: float = 1, sizes=(), gates=(0.5,), on=False, free=None, seed=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.kept = {"width": width, "rate": rate, "sizes": sizes, "gates": gates, "on": on, "free": free}

    def get_initial_state(self, batch_size=None): return []
    def call(self, inputs, states): return -inputs, states
    def build(self, shape): self.add_weight(shape=[])
    def get_config(self): return super().get_config() | self.kept
"""


@pytest.fixture
def cell(tmp_path):
    (tmp_path / "own.py").write_text(FILE)
    return f"{tmp_path / 'own.py'}:Cell"


def test_every_argument_of_every_architecture():
    assert {kind: set(architecture._defaults(kind)) for kind in CELLS} == {
        kind: set(values) for kind, values in OTHERS.items()
    }


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_it_reaches_the_constructor_and_changes_nothing_else(kind, name):
    needed = "relative_learning_rate=none" if name == "dynamic_learning_rates" else ""
    given = text(kind, {name: OTHERS[kind][name]})
    usual, other = (
        make_student(resolve({"optimizer": kind, "architecture": a})) for a in (needed, merged(needed, given))
    )
    before, after = usual.architecture, other.architecture
    assert {key for key in before if before[key] != after[key]} - {"name"} == {name}
    assert after[name] == OTHERS[kind][name]


@pytest.mark.parametrize("kind", CELLS)
def test_the_text_of_an_architecture_gives_it_again(kind):
    values = OTHERS[kind] | WITH_EFFECT.get(kind, {})
    made = make_student(resolve({"optimizer": kind, "architecture": text(kind, values)}))
    assert text(kind, made.architecture) == text(kind, values)
    assert text(kind, CELLS[kind]().get_config()) == ""


def test_the_last_one_decides():
    assert merged("k=1,layers=2", "", "k=3") == "k=3,layers=2"


def test_each_assigned_optimizer_gets_what_it_takes():
    assigned = {"net_assignments": "b=L2O-DM,c=adam,*=RNNprop", "architecture": "layers=3,beta_2=0.5"}
    (_, _, dm), (_, _, adam), (_, _, rnnprop) = make_student(resolve(assigned)).architecture["assignments"]
    assert dm["layers"] == rnnprop["layers"] == (3,)
    assert rnnprop["beta_2"] == 0.5 and "beta_2" not in dm and adam == {"learning_rate": 0.01}


class TestCellsInFiles:
    def test_types_are_those_of_the_defaults(self, cell):
        given = "width=4,rate=2,sizes=1+2,gates=1+1e+2,on=true,free=3+x"
        found = {"width": 4, "rate": 2.0, "sizes": (1, 2), "gates": (1.0, 100.0), "on": True, "free": (3, "x")}
        assert arguments([cell], given) == {cell: found}
        assert isinstance(arguments([cell], given)[cell]["rate"], float)

    def test_they_reach_the_cell(self, cell):
        student = make_student(resolve({"optimizer": cell, "architecture": "width=4,free=none"}))
        assert (student.architecture["width"], student.architecture["free"]) == (4, None)

    def test_an_argument_without_a_default_must_be_given(self, cell):
        with pytest.raises(ValueError, match=r"needs \['width'\]; pass --architecture=width=\.\.\., or give"):
            make_student(resolve({"optimizer": cell}))

    def test_they_are_listed(self, cell):
        assert "--architecture=width=none,rate=1,sizes=,gates=0.5,on=false,free=none" in architecture.listing([cell])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("layer=3", r"layer=3 for L2O-DM, expected one of \['initializer', 'k', 'layers', .* Did you mean layers"),
        ("beta_1=0.5", "beta_1=0.5 for L2O-DM, expected one of"),
        ("layers=3+x", "layers=3[+]x, expected a whole number, or several joined by [+]"),
        ("layers=2.5", "layers=2.5, expected a whole number"),
        ("k=ten", "k=ten, expected a number"),
        ("seed=3", "Use --seed=3"),
        ("k=1,k=2", "where k comes twice"),
        ("k", "--architecture=k, expected name=value"),
        ("k=-1", "Received k=-1.0, expected a positive number"),
        ("layers=0", r"Received layers=\(0,\), expected positive hidden sizes"),
        ("preprocess=Clamp,k=3", "Received k=3.0, which does nothing without preprocess='LogAndSign'. Drop it."),
        ("preprocess=Clam", "Received preprocess='Clam', expected one of"),
    ],
)
def test_what_is_refused(given, words):
    with pytest.raises(ValueError, match=f"^Received .*{words.removeprefix('Received ')}"):
        make_student(resolve({"architecture": given}))


def test_switches():
    for value, expected in (("true", True), ("On", True), ("0", False), ("off", False)):
        assert arguments(["L2O-Scale"], f"gradient_products={value}")["L2O-Scale"] == {"gradient_products": expected}
    with pytest.raises(ValueError, match="gradient_products=maybe, expected true or false"):
        arguments(["L2O-Scale"], "gradient_products=maybe")
