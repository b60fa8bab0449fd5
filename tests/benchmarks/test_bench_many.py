import pytest

from benchmarks import bench_many


@pytest.mark.parametrize(("optimizer", "ways"), [("L2O-DM", {"one step", "calls"}), ("L2O-Scale", {"calls"})])
def test_both_ways_are_measured(optimizer, ways):
    found = bench_many.measure("quadratic", optimizer, count=2, repetitions=1)
    assert found.keys() == ways
    assert all(milliseconds > 0 for milliseconds in found.values())
