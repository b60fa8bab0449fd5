"""An evaluation that is cut off ends as if nothing had been."""

import functools
import os

import numpy as np

from l2o_tf.cli import evaluate
from l2o_tf.evaluating import comparison, halfway, rollouts
from l2o_tf.evaluating.halfway import Keeper
from l2o_tf.optimizers import make_optimizer
from problems import make_problem
from problems.base import make_seed
from tests import scripts

ALWAYS = functools.partial(Keeper, every=0.0, clock=lambda: 0.0)
STEPS = {"num_runs": 2, "num_steps": 260, "window": 20, "full_period": 0}  # told, and kept, every 5 windows


def run(optimizer, path, *, cut_after=None, of="this", problem="quadratic", **options):
    """An evaluation, which Ctrl-C ends once `cut_after` steps are done; its result, and how often it was told."""
    told = []

    def on_progress(done, loss):
        told.append(done)
        if done == cut_after:
            raise KeyboardInterrupt

    keeper = ALWAYS(path, {"of": of})
    problem = make_problem(problem)
    try:
        found = rollouts.evaluate(
            problem, optimizer, make_seed(3), on_progress=on_progress, keeper=keeper, **STEPS | options
        )
    except KeyboardInterrupt:
        found = None
    return found, told


def test_it_ends_bit_for_bit_the_same(tmp_path):
    """Of L2O-Scale, whose state has parts of all shapes."""
    optimizer = make_optimizer("L2O-Scale")
    whole, told = run(optimizer, tmp_path / "whole")
    assert told == [100, 200, 260]
    assert run(optimizer, tmp_path / "cut", cut_after=100)[1] == [100]
    found, told = run(optimizer, tmp_path / "cut")
    assert told == [200, 260]
    np.testing.assert_array_equal(found.losses, whole.losses)
    assert found.seconds > 0


def test_measurements_over_the_whole_data_set_go_on(tmp_path):
    optimizer, options = make_optimizer("sgd"), {"problem": "digits", "num_steps": 60, "full_period": 20}
    whole, _ = run(optimizer, tmp_path / "whole", **options)
    run(optimizer, tmp_path / "cut", cut_after=40, **options)
    found, told = run(optimizer, tmp_path / "cut", **options)
    assert told == [60] and found.full["loss"].shape == (2, 3)
    for name, values in whole.full.items():
        np.testing.assert_array_equal(found.full[name], values)


def test_what_is_of_another_evaluation_or_damaged_is_passed_over_and_said(tmp_path, caplog):
    optimizer, path = make_optimizer("sgd"), tmp_path / "cut"
    run(optimizer, path, cut_after=100)
    assert str(path) not in caplog.text and run(optimizer, path, cut_after=100, of="that")[1] == [100]
    assert f"{path} is of other settings, weights or another program" in caplog.text
    assert run(optimizer, path, cut_after=200, of="that")[1] == [200]
    for content in (path.read_bytes()[:-200], b"", b"PK"):
        path.write_bytes(content)
        caplog.clear()
        assert run(optimizer, path, cut_after=100, of="that")[1] == [100] and f"{path} is damaged" in caplog.text


def test_only_a_file_of_the_same_shapes_is_read(tmp_path):
    state = halfway.Halfway(1, {"x": make_seed(0)}, [np.zeros([1, 1, 2], np.float32)], {}, 1.0)
    ALWAYS(tmp_path / "file", {}).save(state)
    begin, keeper = state._replace(done=0), ALWAYS(tmp_path / "file", {})
    assert keeper.load(begin).done == 1
    other = begin._replace(carry={"x": make_seed(0)[None]})
    assert keeper.load(other) is other
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    assert keeper.load(begin) is begin


def test_it_is_written_now_and_then(tmp_path, monkeypatch):
    """Not before its time, not for more than a fiftieth of the time, and not what is too large."""
    now = []
    keeper = Keeper(tmp_path / "file", {}, clock=lambda: now.pop(0) if now else 0.0)
    state = halfway.Halfway(1, {"x": make_seed(0)}, [np.zeros([1, 1, 2])], {}, 1.0)

    def written(*clock):
        now[:] = clock
        keeper.save(state)
        found = (tmp_path / "file").exists()
        (tmp_path / "file").unlink(missing_ok=True)
        return found

    assert not written(59)
    assert written(60, 64)
    assert not written(263)
    assert written(264, 264)
    assert not written(323)
    monkeypatch.setattr(halfway, "LARGEST", 4)
    assert not written(400)


def test_the_command_goes_on_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "Keeper", ALWAYS)
    really, told = rollouts.evaluate, []

    def cut(*args, on_progress, **options):
        def on_progress_(done, loss):
            told.append(done)
            on_progress(done, loss)
            if told == [500]:
                raise KeyboardInterrupt

        return really(*args, on_progress=on_progress_, **options)

    monkeypatch.setattr(rollouts, "evaluate", cut)
    command = ("--optimizer=Adam", "--problem=simple", "--num_steps=1000", "--num_runs=2", f"--output_dir={tmp_path}")
    assert scripts.call(evaluate, *command).code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["simple--Adam.halfway.npz"]
    assert scripts.call(evaluate, *command).code == 0
    assert told == [500, 1000]
    assert not list(tmp_path.glob("*.halfway.npz"))
