"""Events are written down while training goes on; what goes wrong there is not lost."""

import threading

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from l2o_tf.recording.records import read_records
from tests.l2o_tf import training


@pytest.fixture(scope="module")
def trained():
    """`(trainer, its events)`."""
    trainer = training.trainer()
    with training.eagerly():
        return trainer, [trainer.advance() for _ in range(4)]


def test_a_report_does_not_wait_for_the_disk(trained, tmp_path):
    trainer, events = trained
    gate = threading.Event()
    with trainer.reporter(tmp_path) as reporter:
        write = reporter._record
        reporter._record = lambda *arguments: (gate.wait(60), write(*arguments))
        reporter.report(events[0])  # returns, though nothing can be written
        assert not (tmp_path / "records.jsonl").read_text()
        gate.set()
        for event in events[1:]:
            reporter.report(event)
        reporter.flush()
        records = read_records(tmp_path / "records.jsonl")
        assert [record["meta_epoch"] for record in records] == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A curriculum of which every stage improves once, as TensorBoard sees it; `(folder, accumulator)`."""
    trainer = training.trainer(**training.staged(period=1), num_epochs=6)
    training.scripted(trainer, [5.0, 6.0, 9.0, 8.0, 8.5, 7.0, 7.5])
    folder = tmp_path_factory.mktemp("runs") / "run"
    with training.eagerly(), trainer.reporter(folder) as reporter:
        while not trainer.finished:
            reporter.report(trainer.advance())
    found = EventAccumulator(str(folder), tensor_size_guidance={"scalars": 0})
    found.Reload()
    return folder, found


def test_a_horizon_has_a_chart_whose_line_begins_with_the_baseline(shown):
    charts = {tag: shown[1].Tensors(tag) for tag in shown[1].Tags()["tensors"] if tag.startswith("validation/after")}
    points = {tag: [float(tf.make_ndarray(event.tensor_proto)) for event in chart] for tag, chart in charts.items()}
    assert points == {
        "validation/after 8 steps": [5.0, 6.0],
        "validation/after 12 steps": [9.0, 8.0, 8.5],
        "validation/after 16 steps": [7.0, 7.5],
    }
    best = [float(tf.make_ndarray(event.tensor_proto)) for event in shown[1].Tensors("best validation")]
    assert best == [5.0, 9.0, 8.0, 7.0, 7.0]


def test_every_chart_says_what_it_is(shown):
    for tag in shown[1].Tags()["tensors"]:
        assert shown[1].SummaryMetadata(tag).summary_description or tag.startswith("_hparams_"), tag


def test_the_configuration(shown):
    (start,) = shown[1].PluginTagToContent("hparams").values()
    options = parse_session_start_info_plugin_data(start).hparams
    assert {"problem", "optimizer", "curriculum.patience", "data"} < set(options) and options["seed"].number_value == 3


def test_histograms(trained, tmp_path):
    with trained[0].reporter(tmp_path) as reporter:
        found = reporter.histograms()
    assert found["updates/log10_size"].shape == (4, 4)
    assert found["gates/lstm_1/forget"].shape == (4, 2)
    weights = training.weights(trained[0])
    training.assert_same({name: found[f"weights/{name}"] for name in weights}, weights)


def test_the_run_is_drawn(shown):
    assert (shown[0] / "training.png").read_bytes().startswith(b"\x89PNG")
    assert not list(shown[0].glob("*.part"))


def test_a_picture_that_cannot_be_drawn_ends_nothing(trained, tmp_path, caplog):
    (tmp_path / "training.png").mkdir()
    with trained[0].reporter(tmp_path) as reporter:
        reporter.report(trained[1][0])
        reporter.flush()
        reporter._draw_run()
    assert caplog.text.count("training.png cannot be drawn (") == 1


@pytest.mark.parametrize("noticed_by", ["report", "flush"])
def test_what_cannot_be_written_is_an_error(trained, tmp_path, noticed_by):
    trainer, events = trained

    def full(*arguments):
        raise OSError("No space left on device")

    with trainer.reporter(tmp_path) as reporter:
        reporter._events.scalar = full
        reporter.report(events[0])
        with pytest.raises(OSError, match="No space left"):
            reporter.report(events[1]) if noticed_by == "report" else reporter.flush()
