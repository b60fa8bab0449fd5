from types import SimpleNamespace

import pytest

from benchmarks import bench_keras
from tests import scripts

SOURCES = sorted((scripts.ROOT / "benchmarks").glob("*.py"))


def test_what_is_measured():
    found = bench_keras.steps("L2O-DM", "float32", coordinates=1000, jit_compile=False, repetitions=1)
    assert found.keys() == {"L2O-DM", "Adam", "unroll"}
    assert min(found.values()) > 0


@pytest.mark.parametrize(("name", "dtype", "numbers"), [("Adam", "", 2 * 4), ("L2O-DM", "bfloat16", 80 * 2)])
def test_bytes_for_each_coordinate(name, dtype, numbers):
    """Adam's two moments; h and c of two LSTM layers of 20 units."""
    state, _ = bench_keras.peak(name, dtype, coordinates=1000, jit_compile=False)
    assert numbers * 1000 <= state * 2**20 < numbers * 1000 + 100


def test_a_wrong_name_is_reported_before_anything_is_measured(capsys):
    values = SimpleNamespace(optimizer=["L2O-DM", "Adam"], coordinates=["1000"], repetitions=1, state_dtype="float32")
    with pytest.raises(ValueError, match="Received Adam, .* which has no weights"):
        bench_keras.main(values)
    assert not capsys.readouterr().out


def test_every_benchmark_answers_as_the_scripts_do():
    texts = {path.stem: path.read_text() for path in SOURCES}
    commands = {name for name, text in texts.items() if "flags.DEFINE" in text} - {"history"}
    assert len(commands) == 8
    assert {name for name, text in texts.items() if "    console.run(define_flags, main)\n" in text} == commands
