import subprocess
import sys

import pytest

import l2o_tf
from l2o_tf.common.names import pretrained_names
from l2o_tf.saving import description
from tests import scripts


def card_of(*validation, curriculum=True):
    config = {"curriculum": curriculum, "curriculum_steps": "100,200,500", "num_steps": 100}
    keys = ("epoch", "stage", "horizon", "cost")
    rows = [dict(zip(keys, row, strict=True)) for row in validation]
    return {"config": config, "data": {"name": "mnist"}, "validation": rows}


def test_the_kept_weights_are_of_the_last_stage_that_beat_its_baseline():
    improved = card_of((10, 0, 200, 0.5), (20, 0, 200, 0.6), (20, 1, 500, 0.4), (30, 1, 500, 0.3), (40, 1, 500, 0.35))
    assert description.kept_validation(improved)["epoch"] == 30
    assert description.horizon(improved) == 200
    failed = card_of((10, 0, 200, 0.5), (20, 0, 200, 0.6), (20, 1, 500, 0.4), (30, 1, 500, 0.45))
    assert description.kept_validation(failed)["epoch"] == 10
    assert description.horizon(failed) == 100
    diverged = card_of((10, 0, 100, None), (20, 0, 100, 2.0), curriculum=False)
    assert description.kept_validation(diverged)["epoch"] == 20
    assert description.kept_validation(card_of()) is None


def test_it_is_good_up_to_where_it_gains_no_more():
    card = card_of((10, 0, 200, 0.5), curriculum=False)
    card["config"]["problem"] = "mnist"
    assert description.good_for(card, {}) == "networks like that of mnist, for up to 100 steps"
    at = [{"step": step, "mean": mean} for step, mean in ((100, -1.4), (1000, -2.1), (2000, -0.8), (5000, None))]
    assert description.good_for(card, {"mnist": {"at": at}}) == "networks like that of mnist, for up to 1,000 steps"
    others = {"mnist_relu": {"at": at}, "digits": {"at": at[:1]}}
    assert description.good_for(card, others).endswith("up to 100 steps; on mnist_relu for up to 1,000")
    both = {"mnist": {"at": at}, "mnist_relu": {"at": at[:2]}, "mnist_deeper": {"at": [*at[:1], {**at[1], "mean": 0}]}}
    assert description.good_for(card, both).endswith("up to 1,000 steps; on mnist_deeper for up to 100")
    idle = [{"step": step, "mean": mean} for step, mean in ((100, 0.81), (1000, 0.7), (2000, 0.66), (5000, 0.67))]
    assert description.good_for(card, {"mnist": {"at": at}, "nas": {"at": idle}}).endswith("; on nas for up to 1,000")


def test_what_it_began_with_is_said():
    card, _ = description.read("L2O-DM")
    card = {key: value for key, value in card.items() if key != "adjusted"}
    begun = {**card, "config": {**card["config"], "initial_weights": "some/run"}}
    assert description.trained_on(begun).startswith("mnist (55,000 examples), further, after run, runs of up to")
    assert description.trained_on(begun).endswith(" more meta-epochs")


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
