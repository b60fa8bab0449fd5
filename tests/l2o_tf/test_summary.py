"""The statistic, its treatment of diverged runs, and the printed tables."""

import json

import numpy as np
import pytest

from l2o_tf.common import summary


def test_statistic_is_ln_of_the_mean_of_the_last_50_losses():
    losses = np.random.default_rng(0).uniform(0.1, 2, [3, 200])
    result = summary.summarize(losses, [100])
    per_run = [np.log(np.mean(run[50:100])) for run in losses]
    at = result["at"][0]
    assert at["step"] == 100
    assert at["mean"] == pytest.approx(np.mean(per_run))
    assert at["std"] == pytest.approx(np.std(per_run, ddof=1))
    assert at["median"] == pytest.approx(np.median(per_run))


def test_window_is_cut_short_at_the_start():
    losses = np.arange(1.0, 11.0)
    np.testing.assert_allclose(summary.ln_means(losses, [1, 4, 10], 50), [np.log([1.0, 2.5, 5.5])])


def test_checkpoints_beyond_the_run_are_left_out_and_the_last_step_is_added():
    result = summary.summarize(np.ones([2, 1_500]))
    assert [at["step"] for at in result["at"]] == [100, 1_000, 1_500]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_diverged_runs_leave_the_statistics_and_are_counted(bad):
    losses = np.ones([4, 100])
    losses[0, 60] = bad  # finite again afterwards: it has diverged all the same
    early, late = summary.summarize(losses, [60])["at"]
    assert (early["diverged"], late["diverged"]) == (0.0, 0.25)
    assert late["mean"] == 0.0


def test_all_runs_diverged_gives_none_not_nan():
    at = summary.summarize(np.full([2, 10], np.nan))["at"][0]
    assert at == {"step": 10, "seconds": None, "mean": None, "std": None, "median": None, "diverged": 1.0}


def test_single_run_has_no_standard_deviation():
    assert summary.summarize(np.ones(10))["at"][0]["std"] is None


def test_a_loss_of_zero_stays_finite():
    assert summary.summarize(np.zeros([2, 60]))["at"][-1]["mean"] == pytest.approx(summary.LN_FLOOR)


def test_time_is_per_run_and_proportional_to_the_step():
    result = summary.summarize(np.ones([4, 1_000]), [100], seconds=8.0)
    assert result["seconds_per_run"] == 2.0
    assert result["ms_per_step"] == pytest.approx(2.0)
    assert [at["seconds"] for at in result["at"]] == pytest.approx([0.2, 2.0])


def test_float32_losses_are_averaged_in_float64():
    losses = np.full([1, 50], 1e38, np.float32)
    assert summary.summarize(losses)["at"][0]["mean"] == pytest.approx(np.log(1e38), rel=1e-6)


def test_summary_is_strict_json():
    losses = np.ones([3, 120], np.float32)
    losses[:, 110] = np.nan
    json.dumps(summary.summarize(losses, seconds=1.0), allow_nan=False)


@pytest.mark.parametrize("shape", [(0, 10), (3, 0), (2, 3, 4)])
def test_wrong_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r"expected \[runs, steps\]"):
        summary.summarize(np.ones(shape))


def rows():
    rng = np.random.default_rng(0)
    for problem in ("mnist", "mnist_relu"):
        for optimizer in ("L2O-DM", "Adam"):
            losses = rng.uniform(0.1, 2, [10, 2_000])
            if optimizer == "L2O-DM":
                losses[:2, 1_500:] = np.inf
            yield summary.Row(
                problem, optimizer, summary.summarize(losses, seconds=3.0), "mnist/test (10,000 examples)"
            )


def test_terminal_table_is_aligned_and_complete():
    text = summary.format_table(list(rows()))
    table = [line for line in text.splitlines() if "%" in line]
    assert len(table) == 2 * 2 * 3
    assert len({len(line) for line in table}) == 1
    assert max(map(len, text.splitlines())) <= 88
    assert "20%" in text and "mnist/test (10,000 examples)" in text and "0.150" in text


def test_terminal_table_of_long_names_and_many_runs():
    statistics = summary.summarize(np.ones([1_000, 1]))
    text = summary.format_table([summary.Row("mnist", f"runs/{'deep/' * 60}{k}", statistics) for k in range(3)])
    assert max(map(len, text.splitlines())) <= 107 and "over 1,000 runs" in text
    assert len({line for line in text.splitlines() if line.startswith("runs/deep")}) == 3
