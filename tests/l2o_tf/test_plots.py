"""Figures can be drawn from everything that a run may produce, and say what must be said."""

import warnings

import matplotlib
import numpy as np
import pytest

from l2o_tf import plots
from l2o_tf.common import summary
from l2o_tf.plots import style
from l2o_tf.plots.evaluation import band_of


def losses(runs=4, steps=400, seed=0):
    rng = np.random.default_rng(seed)
    return (2.3 / (1 + np.arange(steps) / 20) * rng.lognormal(0, 0.3, [runs, steps])).astype(np.float32)


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def draw(figure):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()


@pytest.mark.parametrize("x_scale", ["linear", "log"])
@pytest.mark.parametrize("steps", [1, 7, 400])
def test_evaluation_figure_of_any_length(x_scale, steps):
    draw(plots.evaluation_figure([plots.Panel("mnist", {"Adam": losses(steps=steps)})], x_scale=x_scale))


def test_evaluation_figure_names_data_optimizers_and_levels():
    curves = {"L2O-DM": losses(), "Adam": losses(seed=1)}
    figure = plots.evaluation_figure(
        [plots.Panel(name, curves, f"{name}/test (10,000 examples, 0123456789abcdef)", np.log(10)) for name in "abcd"]
    )
    draw(figure)
    for wanted in ("step", "a/test (10,000 examples, 0123456789abcdef)", "L2O-DM", "Adam", "guessing"):
        assert wanted in texts(figure)


@pytest.mark.parametrize("x_scale", ["linear", "log"])
@pytest.mark.parametrize("steps", [1, 30, 200, 4_000])
def test_a_line_is_the_statistic_of_the_table_and_ends_at_its_number(x_scale, steps):
    measured = losses(steps=steps)
    figure = plots.evaluation_figure([plots.Panel("mnist", {"Adam": measured})], x_scale=x_scale)
    at = summary.summarize(measured, checkpoints=[steps // 2])["at"]
    drawn = dict(figure.axes[0].lines[0].get_xydata())
    assert drawn[steps] == pytest.approx(at[-1]["mean"])
    assert drawn.get(steps // 2, at[0]["mean"]) == pytest.approx(at[0]["mean"])
    assert f"Adam  {style.signed(at[-1]['mean'])}" in texts(figure)
    assert "ln of the mean of the\nlast 50 losses" in texts(figure)


def test_panels_have_room_whatever_is_written_beside_them():
    """Unequal subtitles, names of 300 characters, many optimizers."""
    panels = [
        plots.Panel("simple", {"Adam": losses()}),
        plots.Panel("mnist", {"Adam": losses()}, f"mnist/test ({'not the rows of the official files ' * 9})"),
        plots.Panel("folder/" * 40, {f"runs/{'deep/' * 60}{k}": losses() for k in range(30)}),
    ]
    for shown in (panels, panels[2:]):
        figure = plots.evaluation_figure(shown)
        draw(figure)
        for ax in figure.axes:
            assert ax.get_window_extent().width > 3.2 * figure.dpi
            bounds = [text.get_window_extent() for text in (*ax.texts, ax.title)]
            assert max(bound.x1 for bound in bounds) <= figure.bbox.x1
            assert 0 <= min(bound.y0 for bound in bounds) <= max(bound.y1 for bound in bounds) <= figure.bbox.y1
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert len(set(labels)) == 30 and max(map(len, labels)) < 50


def test_diverged_runs_are_counted():
    some, every = losses(), losses(seed=1)
    some[1, 200:] = np.nan
    every[:, 100:] = np.inf
    first = np.full([4, 400], np.nan)
    figure = plots.evaluation_figure([plots.Panel("mnist", {"some": some, "every": every, "first": first})])
    draw(figure)
    assert "1 of 4 diverged" in texts(figure)
    assert texts(figure).count("4 of 4 diverged") == 2


def test_one_exploding_curve_leaves_the_frame():
    calm = losses()
    figure = plots.evaluation_figure([plots.Panel("mnist", {"calm": calm, "wild": calm * np.geomspace(1, 1e20, 400)})])
    assert figure.axes[0].get_ylim()[1] < 6


def test_band_is_the_mean_and_the_sample_deviation_of_the_statistic():
    values = losses(steps=4_000)
    band = band_of(values, "linear")
    per_run = np.log(values[:, -50:].astype(np.float64).mean(axis=1))
    assert band.ends[-1] == 4_000
    assert band.means[-1] == pytest.approx(per_run.mean())
    assert band.deviations[-1] == pytest.approx(per_run.std(ddof=1))


def test_no_panel_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        plots.evaluation_figure([])


def test_validation_figure_compares_both_horizons():
    values = losses(20, 200)
    values[3, 150:] = np.nan
    figure = plots.validation_figure(
        values, horizon_train=100, meta_epoch=1_200, stage=1, data="mnist/train (55,000 examples)"
    )
    draw(figure)
    for wanted in (
        "1,200 meta-epochs, stage 1",
        "1 diverged",
        "training horizon\nstep 100",
        "validation horizon\nstep 200",
    ):
        assert wanted in texts(figure)


def test_validation_figure_when_all_diverged_or_horizons_are_equal():
    draw(plots.validation_figure(np.full([3, 40], np.nan), horizon_train=20, meta_epoch=0))
    draw(plots.validation_figure(losses(3, 40), horizon_train=40, meta_epoch=0))


def test_validation_shorter_than_training_is_refused():
    with pytest.raises(ValueError, match=r"horizon_train=50, expected 1\.\.40"):
        plots.validation_figure(losses(3, 40), horizon_train=50, meta_epoch=0)


def training_records():
    for epoch in range(60):
        stage = epoch // 20
        yield {
            "meta_epoch": epoch,
            "train/final_loss": None if epoch == 7 else 2.0 / (1 + epoch),
            "meta_gradient/norm": None if epoch == 7 else 1.0,
            "meta_gradient/skipped": int(epoch >= 7),
            "imitation/adam": 0.0 if epoch == 3 else 1e-4,
            "curriculum/stage": stage,
            "curriculum/horizon": 100 * (1 + stage),
        }
        if epoch % 10 == 9:
            yield {"meta_epoch": epoch, "validation/loss": None if epoch == 19 else 1.0 / epoch}


def test_training_figure_marks_stages_and_skipped_steps():
    figure = plots.training_figure(list(training_records()), title="L2O-DM on mnist", data="mnist/train")
    draw(figure)
    for wanted in ("L2O-DM on mnist", "mnist/train", "stage 2\n300 steps", "1 skipped", "adam", "validation"):
        assert wanted in texts(figure)


@pytest.mark.parametrize("key", ["train/final_loss", "validation/loss"])
def test_training_figure_of_a_single_value(key):
    draw(plots.training_figure([{"meta_epoch": 0, key: 1.0}]))


def test_training_figure_without_losses_is_refused():
    with pytest.raises(ValueError, match=r"read the records\.jsonl"):
        plots.training_figure([{"meta_epoch": 0}])


def test_labels_do_not_overlap_and_keep_their_order():
    wanted, sizes = np.array([0.5, 0.5, 0.1, 0.52]), np.array([0.1, 0.2, 0.1, 0.1])
    places = style.spread(wanted, sizes)
    order = np.argsort(places)
    gaps = np.diff(places[order]) - (sizes[order][1:] + sizes[order][:-1]) / 2
    assert (gaps > -1e-9).all()
    assert places[2] == pytest.approx(0.1)
    assert order[0] == 2 and order[-1] == 3


def test_labels_stay_within_the_axis():
    places = style.spread(np.zeros(4), np.full(4, 0.1))
    np.testing.assert_allclose(sorted(places), [0.05, 0.15, 0.25, 0.35])
    assert style.spread(np.ones(1), np.full(1, 0.1)) == pytest.approx([0.95])


def test_more_optimizers_than_colours_stay_distinct():
    assert len(set(style.line_styles(20))) == 20


def test_save_is_atomic_and_reproducible(tmp_path):
    values = losses()
    paths = [
        plots.save(plots.evaluation_figure([plots.Panel("mnist", {"Adam": values})]), tmp_path / "new" / f"{name}.png")
        for name in "ab"
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "b.png"]


def test_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "figure.png"
    path.write_text("old")
    figure = plots.evaluation_figure([plots.Panel("mnist", {"Adam": losses()})])
    figure.savefig = broken
    with pytest.raises(OSError, match="No space"):
        plots.save(figure, path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("figure.png", "old")]


def broken(path, **_):
    path.write(b"half")
    raise OSError("No space left on device")
