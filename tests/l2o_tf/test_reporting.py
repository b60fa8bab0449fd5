"""Events are written down while training goes on; what goes wrong there is not lost."""

import threading

import pytest

from l2o_tf.records import read_records
from l2o_tf.reporting import Reporter
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
    with Reporter(tmp_path, trainer, None) as reporter:
        write = reporter._recorder.scalars
        reporter._recorder.scalars = lambda *arguments: (gate.wait(60), write(*arguments))
        reporter.report(events[0])  # returns, though nothing can be written
        assert not (tmp_path / "records.jsonl").read_text()
        gate.set()
        for event in events[1:]:
            reporter.report(event)
        reporter.flush()
        records = read_records(tmp_path / "records.jsonl")
        assert [record["meta_epoch"] for record in records] == [0, 1, 2, 3]


@pytest.mark.parametrize("noticed_by", ["report", "flush"])
def test_what_cannot_be_written_is_an_error(trained, tmp_path, noticed_by):
    trainer, events = trained

    def full(*arguments):
        raise OSError("No space left on device")

    with Reporter(tmp_path, trainer, None) as reporter:
        reporter._recorder.scalars = full
        reporter.report(events[0])
        with pytest.raises(OSError, match="No space left"):
            reporter.report(events[1]) if noticed_by == "report" else reporter.flush()
