"""Flags become objects: every option has an effect, and names that are none are refused."""

import numpy as np
import pytest

from l2o_tf.cli.assembly import make_arguments, make_problems, make_student, make_trainer
from l2o_tf.cli.config import resolve
from l2o_tf.training.meta_training import MetaTrainer
from problems.base import make_seed
from tests.l2o_tf import training

TINY = {
    "problem": "quadratic",
    "architecture": "layers=2",
    "unroll_length": 4,
    "num_steps": 8,
    "num_epochs": 6,
    "evaluation_period": 2,
    "num_runs_validation": 2,
    "learning_rate": 0.01,
    "seed": 3,
    "jit_compile": False,
}

OPTIONS = {
    "seed": {"seed": 4},
    "learning_rate": {"learning_rate": 0.02},
    "unroll_length": {"unroll_length": 2},
    "num_steps": {"num_steps": 4},
    "meta_batch_size": {"meta_batch_size": 3},
    "clip_norm": {"clip_norm": 1e-4},
    "meta_gradient": {"meta_gradient": "whole_run"},
    "random_scaling": {"random_scaling": True},
    "self_improving": {"self_improving": True},
    "architecture": {"architecture": "layers=2,scale=0.1"},
    "teacher_steps": {"teacher_steps": 2},
    "teacher_learning_rate": {"teacher_learning_rate": 0.1},
    "imitation_distance": {"imitation_distance": "half_mean"},
    "objective": {"objective": "log_ratio"},
    "meta_optimizer": {"meta_optimizer": "rmsprop"},
    "clip_value": {"clip_value": 1e-6},
    "long_tail_windows": {"long_tail_windows": "3,5"},
    "long_tail_steps": {"long_tail_steps": "3,5"},
}


def trainer(**options):
    return make_trainer(resolve({**TINY, **options}))


def one_meta_epoch(**options):
    """`(report, weights)`, of an imitation where the options are about one."""
    if any(name.startswith(("teacher", "imitation")) for name in options):
        options = {"imitation": True, "imitation_ratio": 1.0, "teachers": "sgd", **options}
    with training.eagerly():
        trained = trainer(**options)
        return trained.advance().report, training.weights(trained)


@pytest.fixture(scope="module")
def ordinary():
    return one_meta_epoch()


@pytest.fixture(scope="module")
def imitated():
    return one_meta_epoch(imitation=True)


@pytest.mark.parametrize("name", OPTIONS)
def test_has_an_effect(name, ordinary, imitated):
    report, found = one_meta_epoch(**OPTIONS[name])
    _, expected = imitated if name.startswith(("teacher", "imitation")) else ordinary
    assert not report.diverged
    assert any(found[key].shape != value.shape or np.any(found[key] != value) for key, value in expected.items())


def test_judge():
    """The same run, measured on its own minibatch, on one or two fixed ones, and on all images."""
    losses = []
    for judge in ({}, *({"judge": "sample", "judge_minibatches": n} for n in (1, 2)), {"judge": "whole"}):
        with training.eagerly():
            losses.append(trainer(problem="digits", num_steps=4, **judge).advance().report.final_loss)
    assert len(set(losses)) == 4
    assert losses == pytest.approx([losses[-1]] * 4, rel=0.05)


@pytest.mark.parametrize("options", [{"judge": "sample"}, {"judge": "steps", "meta_gradient": "whole_run"}])
def test_a_member_with_data_and_gaps_in_its_gradients(options):
    """Compiled, since only then a gradient of its data could have no place."""
    chosen = resolve({**TINY, "problem": "scale_meta", "optimizer": "RNNprop", "num_steps": 4, **options})
    problem = make_problems(chosen)[0][100]
    assert problem.name.startswith("fully_connected") and problem.name.endswith("sparse_gradient()")
    report = MetaTrainer(make_student(chosen), problem, **make_arguments(chosen)).advance().report
    assert report.num_windows == 1 and not report.diverged


def test_the_members_start_as_told():
    chosen = resolve({**TINY, "problem": "bowl_problems", "problem_stddev": 100.0})
    problem = make_problems(chosen)[0][0]
    assert np.abs(next(iter(problem.init(make_seed(1))[0].values()))).max() > 10


class TestStudents:
    def test_parameters_without_an_entry_are_refused_before_anything_is_compiled(self):
        with pytest.raises(ValueError, match="'x', which matches none of"):
            trainer(net_assignments="w*=L2O-DM")

    @pytest.mark.parametrize("options", [{"optimizer": "adam"}, {"net_assignments": "*=adam"}])
    def test_nothing_to_train(self, options):
        with pytest.raises(ValueError, match=f"--{next(iter(options))}=.*, where nothing can be trained"):
            trainer(**options)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("L2O", "expected one of .* or path/to/file.py:Class. Did you mean"),
            ("assigned", "expected one of .* or path/to/file.py:Class.$"),
            ("Adamm", "expected one of .* or path/to/file.py:Class.$"),
            ("RNNProp", r"Did you mean RNNprop\?$"),
            ("L2O-DM-CL", "of L2O-DM. To train them further: --initial_weights=L2O-DM-CL"),
        ],
    )
    def test_unknown(self, name, words):
        """Nothing is suggested that would be refused in turn."""
        with pytest.raises(ValueError, match=f"Received --optimizer={name}, .*{words}"):
            trainer(optimizer=name)

    @pytest.mark.parametrize("name", ["L2O-DM", "assigned", "adma"])
    def test_unknown_teacher(self, name):
        with pytest.raises(ValueError, match=f"Received teacher '{name}', expected one of"):
            trainer(imitation=True, teachers=name)

    def test_assigned(self):
        trained = trainer(net_assignments="x=L2O-DM")
        assert training.weights(trained).keys() == {f"0/{name}" for name in training.weights(trainer())}
