import pytest

from benchmarks import Case, Settings, bench_memory, document

NAMES = {"problem": "mnist", "optimizer": "L2O-DM", "data": "embedded"}


def test_a_point_is_measured_in_a_process():
    found = bench_memory.one_step(Case("bowl:100", "L2O-DM", "training", "plain"), Settings(2, 2), 100.0, 100.0)
    assert found["coordinates"] == 100
    assert min(found["peak_mib"], found["first_call_s"]) > 0


@pytest.mark.parametrize(
    ("limits", "note"), [((0.1, 100.0), "stopped at 0.1 GiB"), ((100.0, 0.1), "stopped after 0 s")]
)
def test_a_point_that_takes_too_much_is_stopped(limits, note):
    case = Case("bowl:100", "L2O-DM", "training", "plain")
    assert bench_memory.one_step(case, Settings(2, 2), *limits) == {"note": note}


def test_after_one_that_was_stopped_larger_ones_are_not_run():
    run = []

    def measure(case, settings):
        run.append((case.problem, settings.unroll_length))
        return {"peak_mib": 1024.0, "first_call_s": 1.0} if len(run) < 2 else {"note": "stopped"}

    rows = bench_memory.series("coordinates", "plain", [30, 10, 20], NAMES, measure)
    assert run == [("bowl:10", 20), ("bowl:20", 20)]
    assert [row.get("note") for row in rows] == [None, "stopped", "not run"]
    lines = bench_memory.table(rows).splitlines()
    assert lines[1].split() == ["coordinates", "10", "plain", "1,024", "1.0"]
    assert lines[3].endswith("not run")


def test_the_length_is_what_varies_over_truncation():
    rows = bench_memory.series("truncation", "ours-xla", [5], NAMES, lambda case, settings: {"note": "stopped"})
    assert (rows[0]["problem"], rows[0]["unroll_length"], rows[0]["note"]) == ("mnist", 5, "stopped")


def test_a_picture(tmp_path):
    rows = [
        {"method": "plain", "size": 20, "peak_mib": 300.0},
        {"method": "plain", "size": 1000, "note": "too large"},
        {"method": "ours-xla", "size": 20, "peak_mib": 200.0},
        {"method": "ours-xla", "size": 1000, "peak_mib": 800.0},
    ]
    path = document.plot("truncation", rows, tmp_path)
    assert path.name == "perf_memory_truncation.png"
    assert path.stat().st_size > 10_000
