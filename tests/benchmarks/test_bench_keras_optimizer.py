from types import SimpleNamespace

from benchmarks import bench_keras_optimizer
from l2o_tf.cli import console
from tests import scripts

SOURCES = sorted((scripts.ROOT / "benchmarks").glob("*.py"))


def test_both_are_measured():
    adam, learned = bench_keras_optimizer.compare("L2O-DM", coordinates=1000, repetitions=2, jit_compile=False)
    assert (adam[0], learned[0]) == ("Keras Adam", "L2O-DM")
    assert adam[2] == 1.0
    assert learned[1] > 0
    # Two LSTM layers of 20 units with h and c, in float32; Adam's two moments.
    assert 80 * 1000 * 4 <= learned[3] * 2**20 < 80 * 1000 * 4 + 100
    assert 2 * 1000 * 4 <= adam[3] * 2**20 < 2 * 1000 * 4 + 100


def test_an_error_is_one_line_before_anything_is_measured(monkeypatch, capsys):
    values = SimpleNamespace(optimizer=["L2O-DM", "Adam"], coordinates=["1000"], repetitions=1, jit_compile=False)
    monkeypatch.setattr(bench_keras_optimizer, "_FLAGS", values)
    assert console.guarded(bench_keras_optimizer.main, ["script"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "'Adam', which is not a learned optimizer" in err


def test_every_benchmark_answers_so():
    texts = {path.stem: path.read_text().rstrip() for path in SOURCES}
    ends = {name: text.rpartition("\n    ")[2] for name, text in texts.items() if "app.run" in text}
    assert len(ends) == 9
    del ends["bench_unroll"]  # has an answer of its own
    assert set(ends.values()) == {"app.run(lambda rest: console.guarded(main, rest))"}
