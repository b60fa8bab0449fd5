"""Several seeds as one result: against numbers worked out by hand."""

import itertools
import json
import math

import numpy as np
import pytest

from l2o_tf import plots
from l2o_tf.common import summary
from l2o_tf.evaluating import studies
from l2o_tf.evaluating.results import PairResult
from l2o_tf.evaluating.studies import Member

STEPS = 100


def result(problem, ln_losses, alive=STEPS):
    """Runs whose loss is always exp(l); they diverge after so many steps."""
    losses = np.tile(np.exp(np.array(ln_losses, np.float32))[:, None], STEPS)
    losses[:, alive:] = np.nan
    identity = {"problem": {"data": "digits/test", "file": None}}
    return PairResult(problem, "x", identity, {}, summary.summarize(losses), {}, losses, {})


def card(*costs, epochs=200, seconds=3600.0):
    history = [{"epoch": 10 * (n + 1), "stage": 0, "cost": cost} for n, cost in enumerate(costs)]
    return {"meta_epochs": epochs, "wall_seconds": seconds, "validation": history}


@pytest.fixture
def members():
    """Seeds 1 to 3 of `a` end at -1, -2 and -6 on p; seed 3 of `b` has diverged; c is a reference."""
    return [
        Member("a", 1, card(3.0, 2.0), {"p": result("p", [-0.5, -1.5])}),
        Member("a", 2, card(3.0, 4.0, epochs=100, seconds=7200.0), {"p": result("p", [-1.5, -2.5])}),
        Member("a", 3, card(9.0, None, epochs=300), {"p": result("p", [-5.5, -6.5])}),
        Member("b", 1, card(1.0), {"p": result("p", [-2.0, -2.0])}),
        Member("b", 2, card(1.0), {"p": result("p", [-4.0, -4.0])}),
        Member("b", 3, None, {"p": result("p", [0.0, 0.0], alive=60)}),
        Member("c", None, None, {"p": result("p", [-3.0, -3.5])}),
    ]


def test_the_two_spreads(members):
    a, b, c = studies.tabulate(members, {}).evaluations
    assert (a["recipe"], a["seeds"], a["lowest"], a["highest"]) == ("a", 3, pytest.approx(-6.0), pytest.approx(-1.0))
    assert a["median"] == pytest.approx(-2.0)
    assert a["std"] == pytest.approx(math.sqrt((2**2 + 1 + 3**2) / 2))  # around -3
    assert a["std_over_runs"] == pytest.approx(math.sqrt(0.5), rel=1e-5)  # of 0 and 1, in every seed
    assert a["of_seeds"] == pytest.approx({"1": -1.0, "2": -2.0, "3": -6.0})
    assert (b["median"], b["highest"], b["diverged_runs"]) == (pytest.approx(-2.0), math.inf, pytest.approx(1 / 3))
    assert b["std"] == pytest.approx(math.sqrt(2))  # of those that are finite
    assert (c["trained"], c["std"], c["std_over_runs"]) == (False, None, pytest.approx(math.sqrt(0.125), rel=1e-5))


def test_trainings(members):
    a, b = studies.tabulate(members, {}).trainings
    assert (a["seeds"], a["median"], a["lowest"], a["highest"]) == (3, 3.0, 2.0, 9.0)
    assert (a["meta_epochs"], a["hours"], a["stages"]) == (200.0, 1.0, [0, 0])
    assert b["seeds"] == 2


def test_differences_are_taken_seed_by_seed(members):
    (row,) = studies.tabulate(members, {"b": "a", "a": "a"}).differences
    assert (row["recipe"], row["baseline"], row["seeds"], row["better"]) == ("b", "a", 3, 2)
    assert (row["median"], row["lowest"], row["highest"]) == (pytest.approx(-1.0), pytest.approx(-2.0), math.inf)
    assert row["p"] == 1.0  # ranks 1 and 2 below, 3 above


@pytest.mark.parametrize(
    "differences",
    [[-1.0, -2.0, -3.0, -4.0, -5.0], [1.0, -2.0, 3.0, 3.0, 0.0], [-1.0, 1.0, 2.0, math.inf, -math.inf], [0.0], []],
)
def test_signed_ranks_against_all_choices_of_signs(differences):
    values = [each for each in differences if each]
    ranks = [sum((abs(o) < abs(v)) + (abs(o) == abs(v)) / 2 for o in values) + 0.5 for v in values]
    found = abs(sum(math.copysign(rank, value) for rank, value in zip(ranks, values, strict=True)))
    sums = [
        abs(sum(s * r for s, r in zip(x, ranks, strict=True))) for x in itertools.product((-1, 1), repeat=len(ranks))
    ]
    assert studies.signed_rank_p(differences) == pytest.approx(sum(each >= found for each in sums) / len(sums))


def test_the_text_has_each_number_once_under_its_name(members):
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in str(studies.tabulate(members, {"a": "b"})).split("\n")
    ]
    head = ["problem", "recipe", "seeds", "median of seeds", "seeds from ... to", "std over seeds", "std over runs"]
    assert [*head, "diverged runs"] in lines
    assert ["p", "a", "3", "-2.00", "-6.00 ... -1.00", "2.65", "0.71", "0%"] in lines
    assert ["p", "b", "3", "-2.00", "-4.00 ... diverged", "1.41", "0.00", "33%"] in lines
    assert ["p", "c", "not trained", "-3.25", "", "", "0.35", "0%"] in lines
    assert ["a", "3", "3", "2 ... 9", "0", "200", "1.00"] in lines
    assert ["p", "a - b", "1.00", "baseline diverged ... 2.00", "1 of 3", "1.000"] in lines


def test_json_has_null_for_infinite(members):
    found = json.loads(studies.tabulate(members, {}).to_json())
    assert found["evaluations"][1]["highest"] is None and found["evaluations"][0]["highest"] == pytest.approx(-1.0)


def test_the_picture_has_medians_and_extremes(members):
    """A seed that has diverged is above the frame, and takes part in the median."""
    problem, validation = studies.panels(members)
    assert problem.guess == math.log(10)
    figure = plots.study_figure([problem, validation])
    figure.canvas.draw()
    ax = figure.axes[0]
    lines = {line.get_color(): line.get_ydata() for line in ax.lines[:3]}
    np.testing.assert_allclose([values[-1] for values in lines.values()], [-2.0, -2.0, -3.25], rtol=1e-5)
    bands = [band.get_paths()[0].get_extents() for band in ax.collections]
    assert (bands[0].y0, bands[0].y1) == (pytest.approx(-6.0, rel=1e-5), pytest.approx(-1.0, rel=1e-5))
    assert ax.get_ylim()[1] < 6 < bands[1].y1
    assert figure.axes[1].lines[0].get_ydata()[0] == pytest.approx(math.log(3.0))


def test_a_stage_begins_with_its_baseline_which_is_not_drawn():
    history = [
        {"epoch": e, "stage": s, "cost": c} for e, s, c in ((10, 0, 1.0), (20, 0, 2.0), (20, 1, 7.0), (30, 1, 3.0))
    ]
    (panel,) = studies.panels([Member("a", 1, card() | {"validation": history}, {})])
    np.testing.assert_allclose(np.exp(panel.curves["a"].values), [[1.0, 2.0, 3.0]])


def test_seeds_that_have_ended_take_no_part():
    seeds = plots.Seeds(np.array([1, 2, 3]), np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]]))
    (line,) = plots.study_figure([plots.SeedPanel("x", {"a": seeds})]).axes[0].lines[:1]
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 3.0, 5.0])


def test_no_panel_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        plots.study_figure([])
