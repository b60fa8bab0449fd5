"""Where XLA's cache is, and that a second process is served from it with the same numbers."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from l2o_tf.common import xla_cache

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from l2o_tf.cli import console
console.import_tensorflow()
import tensorflow as tf
print(float(tf.function(lambda x: tf.reduce_sum(tf.tanh(x) @ x), jit_compile=True)(tf.ones([8, 8]))))
"""


@pytest.fixture
def environment(tmp_path):
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def directory(environment):
    _, _, folder = environment[xla_cache.FLAGS].partition(xla_cache.FLAG + "=")
    return Path(folder)


def enabled(**environment) -> Path:
    xla_cache.enable(environment)
    return directory(environment)


def test_each_processor_has_a_folder_and_so_have_other_flags(environment, monkeypatch):
    here = enabled(**environment)
    assert here.is_dir()
    assert here.parent == Path(environment["XDG_CACHE_HOME"]) / "l2o_tf" / "xla"
    quickly = enabled(**environment, XLA_FLAGS="--xla_backend_optimization_level=0")
    monkeypatch.setattr(xla_cache, "processor", lambda: "another")
    assert len({here, quickly, enabled(**environment)}) == 3


def test_it_can_be_elsewhere_or_off(environment, tmp_path):
    chosen = {**environment, xla_cache.SETTING: str(tmp_path / "mine"), xla_cache.FLAGS: "--other=1"}
    xla_cache.enable(chosen)
    assert chosen[xla_cache.FLAGS].startswith(f"--other=1 {xla_cache.FLAG}={tmp_path / 'mine'}/")
    for off in ({xla_cache.SETTING: ""}, {xla_cache.FLAGS: f"{xla_cache.FLAG}=/somewhere"}):
        before = {**environment, **off}
        xla_cache.enable(after := dict(before))
        assert after == before


def test_without_a_folder_there_is_no_cache(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "below", tmp_path / "with space"):
        environment = {xla_cache.SETTING: str(folder)}
        xla_cache.enable(environment)
        assert xla_cache.FLAGS not in environment


def entry(folder, name, content):
    path = folder / f"{name}.pb"
    path.write_bytes(content)
    return path


def test_only_sealed_entries_are_left_to_tensorflow(environment, caplog):
    """Damaged ones end the process that reads them, or crash it."""
    folder = enabled(**environment)
    for name in "good", "empty", "short", "flipped":
        entry(folder, name, b"\x0a\x03abc" * 9)
    xla_cache.seal({xla_cache.FLAGS: f"{xla_cache.FLAG}={folder}"})
    whole = (folder / "good.pb").read_bytes()
    assert len({path.read_bytes() for path in folder.iterdir()}) == 1 and whole.endswith(b"\x0a\x03abc" * 9)
    enabled(**environment)
    assert len(list(folder.iterdir())) == 4 and not caplog.text
    entry(folder, "empty", b"")
    entry(folder, "short", whole[:-1])
    entry(folder, "flipped", whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    entry(folder, "of a killed process", b"\x0a\x03abc")
    os.mkfifo(folder / "no file.pb")
    enabled(**environment)
    assert sorted(path.name for path in folder.iterdir()) == ["good.pb", "no file.pb"]
    assert [record.getMessage() for record in caplog.records] == [
        "3 damaged entries of XLA's cache deleted; they are compiled anew."
    ]


def test_nothing_is_added_on_a_disk_that_is_nearly_full(environment, monkeypatch, caplog):
    monkeypatch.setattr(xla_cache, "LEAST_FREE", 2**62)
    xla_cache.enable(environment)
    assert environment[xla_cache.FLAGS].endswith(f" {xla_cache.READ_ONLY}")
    assert "what XLA compiles is not kept" in caplog.text
    assert xla_cache.FLAG not in xla_cache.without(environment)[xla_cache.FLAGS]


def run(program, cache, **options):
    return subprocess.run(
        [sys.executable, "-c", program],
        env={
            xla_cache.SETTING: str(cache),
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONDONTWRITEBYTECODE": "1",  # files that may not grow would be cut in half
        },
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def stored(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*.pb")}


def test_a_second_process_finds_what_the_first_has_compiled_and_a_full_disk_does_not_end_it(tmp_path):
    """In the second process no file may grow. What is there is served; what is new makes it start without a cache."""
    first = run(PROGRAM, tmp_path / "xla")
    assert first.returncode == 0, first.stderr
    entries = stored(tmp_path / "xla")
    assert entries, "nothing was stored"
    program = f"""
from l2o_tf.cli import console
def action():
    print("begun")
    exec({PROGRAM!r}, globals())
    exec({PROGRAM.replace("tanh", "exp")!r}, globals())
    return 0
raise SystemExit(console.without_cache_if_it_fails(action))
"""
    second = run(program, tmp_path / "xla", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)))
    assert second.returncode == 0, second.stderr
    found = float(first.stdout)
    *begun, other = second.stdout.split()
    assert begun == ["begun", str(found), "begun", str(found)] and float(other) != found
    assert second.stderr.count("starting again without it") == 1
    assert stored(tmp_path / "xla") == entries
