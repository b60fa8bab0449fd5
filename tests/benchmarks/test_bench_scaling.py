from benchmarks import bench_scaling


def test_both_ways_are_measured():
    found = bench_scaling.medians(bench_scaling.ways("simple", "L2O-DM", count=2), repetitions=1)
    assert found.keys() == {"one step", "calls"}
    assert all(milliseconds > 0 for milliseconds in found.values())


def test_coordinates_that_depend_on_each_other_have_one_way():
    assert bench_scaling.ways("simple", "L2O-Scale", count=2).keys() == {"calls"}
