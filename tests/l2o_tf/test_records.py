"""What is recorded can be read again, and a resumed run's records are those of an uninterrupted one."""

import io
import json
import os
import re
import sys
import time
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from l2o_tf.recording import progress, records
from l2o_tf.recording.event_file import EventFile


def run(folder, first, last):
    """Records meta-epochs `first` to `last - 1` as a training loop would."""
    folder.mkdir(exist_ok=True)
    path = folder / records.RECORDS
    records.drop_records(path, first)
    events = EventFile(folder, first)
    for step in range(first, last):
        records.append_record(path, step, {"train/meta_loss": 1 / (1 + step), "curriculum/stage": step // 4})
        records.append_record(path, step, {"speed/steps_per_second": 100.0 + first})
        events.scalar(step, "train/meta_loss", 1 / (1 + step))
        if step == 6:
            records.append_record(path, step, {"event": "back to the last good weights"})
    events.close()


def steps_in_tensorboard(folder, tag):
    events = EventAccumulator(str(folder), tensor_size_guidance={"scalars": 0})
    events.Reload()
    return [event.step for event in events.Tensors(tag)]


def test_resumed_records_equal_uninterrupted_ones(tmp_path):
    run(tmp_path / "whole", 0, 10)
    run(tmp_path / "resumed", 0, 8)
    run(tmp_path / "resumed", 5, 9)  # the last checkpoint knew five meta-epochs
    run(tmp_path / "resumed", 7, 10)
    whole, resumed = (records.read_records(tmp_path / name / records.RECORDS) for name in ("whole", "resumed"))
    assert whole != resumed
    assert records.without_wall_times(whole) == records.without_wall_times(resumed)
    assert [r["meta_epoch"] for r in whole if "event" in r] == [6]
    for name in ("whole", "resumed"):
        assert steps_in_tensorboard(tmp_path / name, "train/meta_loss") == list(range(10))


def test_a_new_run_in_an_old_folder_starts_from_nothing(tmp_path):
    run(tmp_path, 0, 8)
    run(tmp_path, 0, 3)
    assert {r["meta_epoch"] for r in records.read_records(tmp_path / records.RECORDS)} == {0, 1, 2}
    assert steps_in_tensorboard(tmp_path, "train/meta_loss") == [0, 1, 2]


def test_a_clock_that_goes_back_loses_nothing(tmp_path, monkeypatch):
    """Neither points nor their order: TensorBoard reads files by name, and draws lines by time, too."""
    for first, clock in ((0, 9e8), (3, 8e8), (6, 7e8)):
        monkeypatch.setattr(time, "time", partial(float, clock))
        events = EventFile(tmp_path, first)
        for step in range(first, first + 3):
            events.scalar(step, "a", 1.0)
        events.close()
    found = EventAccumulator(str(tmp_path), tensor_size_guidance={"scalars": 0})
    found.Reload()
    points = found.Tensors("a")
    assert [point.step for point in points] == list(range(9))
    assert [point.wall_time for point in points] == sorted(point.wall_time for point in points)


@pytest.mark.parametrize("left", [0, 3, 7])
def test_records_that_are_gone_are_missed(tmp_path, left, caplog):
    run(tmp_path, 0, 8)
    path = tmp_path / records.RECORDS
    path.write_text(
        "".join(line + "\n" for line in path.read_text().splitlines() if json.loads(line)["meta_epoch"] < left)
    )
    run(tmp_path, 8, 9)
    assert f"lacks {8 - left} of 8 meta-epochs" in caplog.text
    caplog.clear()
    run(tmp_path / "new", 0, 2)
    run(tmp_path / "new", 1, 2)
    assert not caplog.text


def test_options_and_descriptions_reach_tensorboard(tmp_path):
    folder, described = tmp_path / "run", {"a": "What a is."}
    folder.mkdir()
    events = EventFile(folder, 0, lambda name: described.get(name, ""))
    events.options({"learning_rate": 0.1, "curriculum": True, "teachers": "adam"})
    events.scalar(0, "a", 1, "chart of a")
    events.close()
    events.close()
    found = EventAccumulator(str(folder))
    found.Reload()
    assert found.SummaryMetadata("chart of a").summary_description == "What a is."
    (tag,) = found.PluginTagToContent("hparams").values()
    start = parse_session_start_info_plugin_data(tag)
    assert start.group_name == f"{tmp_path.name}/run"
    assert start.hparams["learning_rate"].number_value == 0.1 and start.hparams["teachers"].string_value == "adam"


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_half_last_line_is_left_out_and_repaired(tmp_path, cut):
    run(tmp_path, 0, 5)
    path = tmp_path / records.RECORDS
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[0][:cut])
    assert len(records.read_records(path)) == 10
    run(tmp_path, 5, 6)
    assert [r["meta_epoch"] for r in records.read_records(path)] == [i // 2 for i in range(12)]
    assert path.read_bytes().startswith(whole)


def test_a_damaged_line_is_named(tmp_path):
    run(tmp_path, 0, 3)
    path = tmp_path / records.RECORDS
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(ValueError, match=r"line 1 of 7 is no record: 'nonsense'"):
        records.read_records(path)
    with pytest.raises(ValueError, match="line 1 of 7"):
        run(tmp_path, 2, 3)


@pytest.mark.parametrize("line", ['{"meta_epoch": 1e400}', f'{{"meta_epoch": {"[" * 100_000}'])
def test_a_line_of_no_number_is_named(tmp_path, line):
    (tmp_path / records.RECORDS).write_text(f"{line}\n{{}}\n")
    with pytest.raises(ValueError, match="line 1 of 2 is no record"):
        records.read_records(tmp_path / records.RECORDS)


def test_a_full_disk_has_a_name(tmp_path):
    (tmp_path / "records").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*records'"):
        records.append_record(tmp_path / "records", 0, {"event": "something"})


def test_a_file_that_is_replaced_meanwhile_gets_what_follows(tmp_path):
    """As version control does with a file that it restores; every line is there before the next call."""
    path = tmp_path / records.RECORDS
    records.append_record(path, 0, {"a": 1})
    (tmp_path / "other").write_text(path.read_text())
    (tmp_path / "other").replace(path)
    records.append_record(path, 1, {"a": 2})
    assert [record["a"] for record in records.read_records(path)] == [1, 2]


def test_lines_are_strict_json_and_exact(tmp_path):
    records.append_record(tmp_path / "records", 0, {"nan": np.nan, "inf": -np.inf, "exact": 0.1, "count": 7})
    record = json.loads((tmp_path / "records").read_text(), parse_constant=pytest.fail)
    assert [record[name] for name in ("nan", "inf", "exact", "count")] == [None, None, 0.1, 7]


def test_histograms_texts_and_figures_reach_tensorboard(tmp_path):
    events = EventFile(tmp_path, 0)
    events.histogram(3, "weights", np.array([1.0, np.nan, 2.0]))
    events.histogram(3, "nothing", np.array([np.nan]))
    events.text(0, "events", "a new stage")
    events.figure(4, "validation", Figure(figsize=(1, 1)))
    events.flush()
    for name, step in (("weights", 3), ("events", 0), ("validation", 4)):
        assert steps_in_tensorboard(tmp_path, name) == [step]


def test_a_full_disk_is_an_os_error(tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "events; No space left on device")

    monkeypatch.setattr(tf.io.TFRecordWriter, "flush", full)
    with pytest.raises(OSError, match="event file cannot be written: events; No space left on device"):
        EventFile(tmp_path, 0).flush()


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.2)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = progress.Progress(1000, initial=100, description="L2O-DM", unit="meta-epoch")
    assert not stream.getvalue()
    for done in range(200, 700, 100):
        bar.update(done, "loss 0.5")
        time.sleep(0.07)
    bar.write("a new stage")
    bar.update(550, "loss 0.5")  # after a rollback
    bar.close()
    bar.close()
    first, event, last = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"L2O-DM: meta-epoch (400|500)/1000 \(.0%\), loss 0.5, 00:00 elapsed, at most 00:00 left", first
    )
    assert event == "a new stage"
    assert last.startswith("L2O-DM: meta-epoch 550/1000 (55%), loss 0.5, ")


def test_a_line_every_half_a_minute():
    assert progress.SECONDS == 30.0


def test_progress_that_nobody_can_see_stops_nothing(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        bar = progress.Progress(2)
        for done in (1, 2):
            bar.update(done)
            bar.write("a new stage")
        bar.close()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = progress.Progress(10, initial=2, description="meta-training")
    bar.update(5, "loss 0.27, stage 1")
    bar.write("a new stage")
    bar.update(4)  # after a rollback
    bar.update(10, "loss 0.2")
    bar.close()
    shown = stream.getvalue()
    assert "a new stage\n" in shown
    assert "meta-training 100%" in shown and "10/10" in shown and "loss 0.2" in shown
