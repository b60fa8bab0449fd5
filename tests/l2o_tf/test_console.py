"""What the scripts keep from a terminal."""

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tensorflow as tf
from absl import flags

from l2o_tf.cli import config, console, meta_train
from l2o_tf.common import folders

ROOT = Path(__file__).resolve().parents[2]

MESSAGE = """Graph execution error:

Detected at node x defined at (most recent call last):
  File "a.py", line 1, in f

cache/xla/x.tmp; File too large
\t [[{{node x}}]] [Op:__inference_f_1]"""


def test_what_tensorflow_cannot_run_is_one_line(capsys):
    def action():
        raise tf.errors.ResourceExhaustedError(None, None, MESSAGE)

    assert console.guarded(action, []) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "TensorFlow: cache/xla/x.tmp; File too large (--verbosity=1 says where)" in error


def test_what_xla_cannot_compile_has_a_remedy(capsys):
    def action():
        raise tf.errors.InvalidArgumentError(None, None, "Detected unsupported operations when trying to compile")

    assert console.guarded(action, []) == 2
    assert "from_keras(..., xla=False)" in capsys.readouterr().err


def test_help_has_the_flags_in_order_under_their_headings():
    values = flags.FlagValues()
    flags.DEFINE_integer("steps", 100, "How many.", flag_values=values)
    flags.DEFINE_boolean("fast", True, "Whether it hurries.", flag_values=values)
    flags.DEFINE_list("a_name_that_leaves_no_room_beside_it", ["a", "b"], "Names.", flag_values=values)
    flags.DEFINE_enum("kind", None, ["x", "y"], "What kind, of which the text is longer.", flag_values=values)
    found = [values[name] for name in ("steps", "fast", "a_name_that_leaves_no_room_beside_it", "kind")]
    assert console.options(found, {"steps": "First", "kind": "Second"}, width=60).splitlines() == [
        "First",
        "  --steps=100                     How many.",
        "  --[no]fast                      Whether it hurries.",
        "                                  Default: on.",
        "  --a_name_that_leaves_no_room_beside_it=a,b",
        "                                  Names.",
        "",
        "Second",
        "  --kind=                         <x|y>: What kind, of which",
        "                                  the text is longer.",
    ]
    assert console.options(found[:1], {}).startswith("Options and their defaults\n  --steps")


def test_every_option_of_meta_training_has_a_place_under_a_heading():
    values = flags.FlagValues()
    meta_train.define_flags(values)
    shown = console.options([values[name] for name in values], config.HEADINGS, width=100)
    assert set(config.HEADINGS) <= set(config.FIELDS) and next(iter(config.HEADINGS)) == next(iter(config.FIELDS))
    assert all(shown.count(f"\n{heading}\n") == 1 for heading in list(config.HEADINGS.values())[1:])


def test_the_collector_rests_during_the_import_only():
    """In an interpreter of its own, where TensorFlow is imported as by a script."""
    code = """
import gc
from l2o_tf.cli import console
collected = []
gc.callbacks.append(lambda phase, info: collected.append(phase))
console.import_tensorflow()
assert len(collected) < 20, len(collected)
assert gc.isenabled() and gc.get_freeze_count() > 100_000
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_killed_processes_left_is_removed(tmp_path):
    left = [".weights.npz.part", ".curves.png.999999999.part"]
    others = [f".curves.png.{os.getpid()}.part", ".mine.part", "training.part"]
    for name in (*left, *others):
        (tmp_path / name).touch()
    with folders.alone_in(tmp_path):
        assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_a_folder_whose_name_is_no_text_is_not_made(tmp_path):
    with pytest.raises(ValueError, match=r"--output_dir='.*\\udcff', expected a name in UTF-8"):
        folders.make_folder(f"{tmp_path}/\udcff")
    assert not os.listdir(tmp_path)


def test_what_installs_claims_no_import_names_of_others():
    """`evaluate` is somebody else's package. The commands lead into ours."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setuptools = configured["tool"]["setuptools"]
    assert {name.partition(".")[0] for name in setuptools["packages"]} == {"l2o_tf", "problems"}
    assert "py-modules" not in setuptools
    for target in configured["project"]["scripts"].values():
        module, _, function = target.partition(":")
        assert module.startswith("l2o_tf.cli.") and callable(getattr(importlib.import_module(module), function))
