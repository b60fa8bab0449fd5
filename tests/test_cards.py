"""The pages of what ships: CARD.md."""

import json
import subprocess
import sys

import pytest
from absl import flags

import l2o_tf
from docs import cards
from docs.cards import good_for, read, trained_on
from l2o_tf.cli import meta_train
from l2o_tf.cli.config import GONE
from l2o_tf.common.names import pretrained_names
from l2o_tf.saving.validations import kept_validation
from tests import scripts


def test_a_table_of_runs_of_different_lengths_and_data():
    at = [{"step": step, "mean": -step / 100, "std": 0.5, "diverged": 0.0} for step in (100, 200)]
    results = {name: {"data": data, "runs": 2, "at": at[:n]} for name, data, n in (("a", "x", 1), ("b", "y", 2))}
    lines = cards._table({**results, "c": results["b"]})
    assert lines[2:] == [
        "| problem | runs | 100 | 200 | diverged |",
        "|---|---|---|---|---|",
        "| a | 2 | -1.00 ± 0.50 |  | 0% |",
        *[f"| {name} | 2 | -1.00 ± 0.50 | -2.00 ± 0.50 | 0% |" for name in "bc"],
        *["", "Data of a: x.", "", "Data of b, c: y."],
    ]


def test_a_single_run_has_no_spread_and_diverged_ones_no_mean():
    at = [
        {"step": 100, "mean": -1.0, "std": None, "diverged": 0},
        {"step": 200, "mean": None, "std": None, "diverged": 1},
    ]
    result = {"data": "x", "runs": 1, "at": at}
    assert "| a | 1 | -1.00 |  | 100% |" in cards._table({"a": result})
    shorter = {**result, "at": at[:1]}
    assert (
        cards._endings({"c": shorter, "b": result, "a": shorter})
        == "after 200 steps b diverged; after 100 steps a -1.00, c -1.00"
    )


MADE = {"provenance": {"date": "2020-02-03T04:05", "commit": "0123456789abcdef"}}


def test_weights_between_two_are_said_to_be():
    card, *_ = read("L2O-DM-CL")
    card = {key: value for key, value in card.items() if key != "adjusted"}
    between = {**card, "interpolated": {"share": 0.25, "between": [{"name": "runs/one"}, {"name": "runs/two"}], **MADE}}
    assert trained_on(between).endswith(" more meta-epochs, of which 25% of the way is kept")
    assert "never validated; those of runs/two had" in cards.page("L2O-DM-CL", between, {}, {})


def test_what_was_adjusted_is_said():
    card, *_ = read("RNNprop")
    adjusted = {**card, "adjusted": {"factor": 0.5, "no_drift": True, "from": {"name": "runs/one"}, **MADE}}
    then = " meta-epochs, then updates times 0.5 and no drift where there never was a gradient"
    assert trained_on(adjusted).endswith(then)
    text = cards.page("RNNprop", adjusted, {}, {})
    assert "validation cost 0.396 before they were adjusted." in text
    assert "1 being what was measured, and 2 the length of its training." in text
    assert "1 being what was measured.\n" in cards.page("RNNprop", card, {}, {})
    assert "    python -m l2o_tf.cli.weights adjust runs/one --factor=0.5 --no_drift --output=ADJUSTED\n" in text
    rates = {
        "factor": 1.0,
        "no_drift": False,
        "initial_learning_rates": [1e-5, 1e-3],
        "from": {"name": "runs/one"},
        **MADE,
    }
    assert trained_on({**card, "adjusted": rates}).endswith(", then first learning rates from 1e-05 to 0.001")
    assert "adjust runs/one --initial_learning_rates=1e-05,0.001 -" in cards.page(
        "R", {**card, "adjusted": rates}, {}, {}
    )
    ends = [{"name": "runs/a"}, {"name": "runs/b"}]
    adjusted = {**adjusted, "adjusted": {**adjusted["adjusted"], "no_drift": False}}
    both = cards.page("RNNprop", {**adjusted, "interpolated": {"share": 0.5, "between": ends, **MADE}}, {}, {})
    trained, adjusted = (
        both.index(f"- Made {card['provenance']['date'][:10]} at"),
        both.index("- Adjusted 2020-02-03 at"),
    )
    assert trained < both.index("- Interpolated 2020-02-03 at commit 0123456789.\n") < adjusted
    assert both.index("interpolate runs/a runs/b") < both.index("weights adjust FOLDER --factor=0.5 --output")


def test_a_set_of_problems_with_runs_of_random_length():
    card, results, _ = read("L2O-Scale-Meta")
    assert trained_on(card).startswith("scale_meta, further, after L2O-Scale-Meta-")
    assert "runs of random length, plain" in trained_on(card)
    assert good_for(card, {}) == "problems like those of scale_meta, for up to 1,000 steps"
    assert "--problem=mnist\n" in cards.page("L2O-Scale-Meta", card, results, {})


@pytest.mark.parametrize("name", pretrained_names())
def test_every_shipped_optimizer_has_a_card_that_is_up_to_date(name):
    card, results, drifts = read(name)
    assert (cards.PRETRAINED / name / cards.PAGE).read_text() == cards.page(name, card, results, drifts)
    assert results == cards.collect(card, scripts.ROOT / "experiments" / "results", name)


@pytest.mark.parametrize("name", pretrained_names())
def test_the_command_of_a_card_asks_for_its_configuration(name):
    """Typed again, it is that training; a default that has changed since would show here."""
    config = read(name)[0]["config"]
    values = flags.FlagValues()
    meta_train.define_flags(values)
    values(["meta_train.py", *cards.options(config)])
    asked = GONE | meta_train.requested(values).to_dict()
    assert {key: asked[key] for key in config} == config | {"data_dir": "", "data": "auto"}
    assert " ".join(cards.options(config)) in cards.page(name, *read(name))


def test_results_of_other_weights_are_left_out(tmp_path):
    card, *_ = read("L2O-DM")
    summary = {"runs": 1, "steps": 1, "at": [{"step": 1, "mean": 0.5, "std": None, "diverged": 0.0}]}
    result = {"problem": "p", "data": "d", "summary": summary, "optimizer": "L2O-DM", "meta_training": dict(card)}
    (tmp_path / "one.json").write_text(json.dumps(result))
    assert list(cards.collect(card, tmp_path, "L2O-DM")) == ["p"]
    assert not cards.collect(card, tmp_path, "RNNprop")
    rates = {"adjusted": {"factor": 1.0, "initial_learning_rates": [1e-5, 1e-3]}}
    for other in ({"weights": {"sha256": "0"}}, {"adjusted": {"factor": 0.5}}, rates):
        result["meta_training"] = {**card, **other}
        (tmp_path / "one.json").write_text(json.dumps(result))
        assert not cards.collect(card, tmp_path, "L2O-DM")


def card_of(*validation, curriculum=True):
    config = {"curriculum": curriculum, "curriculum_steps": "100,200,500", "num_steps": 100}
    keys = ("epoch", "stage", "horizon", "cost")
    rows = [dict(zip(keys, row, strict=True)) for row in validation]
    return {"config": config, "data": {"name": "mnist"}, "validation": rows}


def test_the_kept_weights_are_of_the_last_stage_that_beat_its_baseline():
    improved = card_of((10, 0, 200, 0.5), (20, 0, 200, 0.6), (20, 1, 500, 0.4), (30, 1, 500, 0.3), (40, 1, 500, 0.35))
    assert kept_validation(improved)["epoch"] == 30
    assert cards.horizon(improved) == 200
    failed = card_of((10, 0, 200, 0.5), (20, 0, 200, 0.6), (20, 1, 500, 0.4), (30, 1, 500, 0.45))
    assert kept_validation(failed)["epoch"] == 10
    assert cards.horizon(failed) == 100
    diverged = card_of((10, 0, 100, None), (20, 0, 100, 2.0), curriculum=False)
    assert kept_validation(diverged)["epoch"] == 20
    assert kept_validation(card_of()) is None


def test_it_is_good_up_to_where_it_gains_no_more():
    card = card_of((10, 0, 200, 0.5), curriculum=False)
    card["config"]["problem"] = "mnist"
    assert good_for(card, {}) == "networks like that of mnist, for up to 100 steps"
    at = [{"step": step, "mean": mean} for step, mean in ((100, -1.4), (1000, -2.1), (2000, -0.8), (5000, None))]
    assert good_for(card, {"mnist": {"at": at}}) == "networks like that of mnist, for up to 1,000 steps"
    others = {"mnist_relu": {"at": at}, "digits": {"at": at[:1]}}
    assert good_for(card, others).endswith("up to 100 steps; on mnist_relu for up to 1,000")
    both = {"mnist": {"at": at}, "mnist_relu": {"at": at[:2]}, "mnist_deeper": {"at": [*at[:1], {**at[1], "mean": 0}]}}
    assert good_for(card, both).endswith("up to 1,000 steps; on mnist_deeper for up to 100")
    idle = [{"step": step, "mean": mean} for step, mean in ((100, 0.81), (1000, 0.7), (2000, 0.66), (5000, 0.67))]
    assert good_for(card, {"mnist": {"at": at}, "nas": {"at": idle}}).endswith("; on nas for up to 1,000")


def test_what_it_began_with_is_said():
    card, *_ = read("L2O-DM")
    card = {key: value for key, value in card.items() if key != "adjusted"}
    begun = {**card, "config": {**card["config"], "initial_weights": "some/run"}}
    assert trained_on(begun).startswith("mnist (55,000 examples), further, after run, runs of up to")
    assert trained_on(begun).endswith(" more meta-epochs")


def test_the_list_has_an_entry_for_each():
    done = subprocess.run(
        [sys.executable, "-m", "l2o_tf"], cwd=scripts.ROOT, capture_output=True, text=True, timeout=120
    )
    entries = done.stdout.rstrip("\n").split("\n\n")
    assert [entry.split("\n")[0] for entry in entries] == pretrained_names()
    parts = ("trained on mnist", "good for   networks like that of mnist", "unknown elsewhere", "ln loss ")
    assert all(part in entry for part in parts for entry in entries if not entry.startswith("L2O-Scale-Meta\n"))
    assert not done.stderr
    assert l2o_tf.list_pretrained() == pretrained_names()
    assert l2o_tf.load("L2O-DM").kind == "L2O-DM"
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = l2o_tf.nonsense


def test_importing_the_package_loads_nothing_heavy():
    program = "import sys, l2o_tf; assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=scripts.ROOT, check=True, timeout=60)
