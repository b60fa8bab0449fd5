from types import SimpleNamespace

import pytest

from benchmarks import bench_keras
from tests import scripts

SOURCES = sorted((scripts.ROOT / "benchmarks").glob("*.py"))


def test_both_are_measured():
    adam, learned = bench_keras.compare("L2O-DM", coordinates=1000, repetitions=2, jit_compile=False)
    assert (adam[0], learned[0]) == ("Keras Adam", "L2O-DM")
    assert adam[2] == 1.0
    assert learned[1] > 0
    # Two LSTM layers of 20 units with h and c, in float32; Adam's two moments.
    assert 80 * 1000 * 4 <= learned[3] * 2**20 < 80 * 1000 * 4 + 100
    assert 2 * 1000 * 4 <= adam[3] * 2**20 < 2 * 1000 * 4 + 100


def test_a_wrong_name_is_reported_before_anything_is_measured(capsys):
    values = SimpleNamespace(optimizer=["L2O-DM", "Adam"], coordinates=["1000"], repetitions=1, jit_compile=False)
    with pytest.raises(ValueError, match="Received Adam, .* which has no weights"):
        bench_keras.main(values)
    assert not capsys.readouterr().out


def test_every_benchmark_answers_as_the_scripts_do():
    texts = {path.stem: path.read_text() for path in SOURCES}
    commands = {name for name, text in texts.items() if "flags.DEFINE" in text} - {"history"}
    assert len(commands) == 6
    assert {name for name, text in texts.items() if "    console.run(define_flags, main)\n" in text} == commands
