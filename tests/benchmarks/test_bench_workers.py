from benchmarks.bench_workers import model, table


def test_the_model():
    """A worker with one optimizee waits 2 (W - 1) h for each c; with 16, for each 16 c."""
    rows = {row[0]: row[1:] for row in model(own=9.0, hop=0.5)}
    assert rows["1"] == ["0.00", "100%", "100%"]
    assert rows["10"] == ["9.00", "50%", "94%"]


def test_tables_are_markdown():
    assert table(["a", "b"], [[1, "2%"]]) == "| a | b |\n| ---: | ---: |\n| 1 | 2% |\n"
