"""Every option of a meta-training has an effect, and every student learns."""

import numpy as np
import pytest

from l2o_tf.cli.assembly import make_optimizees, make_student
from l2o_tf.training.trainer import MetaTrainer
from problems.base import make_seed
from tests.l2o_tf import training

OPTIONS = {
    "seed": {"seed": 4},
    "learning_rate": {"learning_rate": 0.02},
    "unroll_length": {"unroll_length": 2},
    "num_steps": {"num_steps": 4},
    "meta_batch_size": {"meta_batch_size": 3},
    "clip_norm": {"clip_norm": 1e-4},
    "second_derivatives": {"second_derivatives": True},
    "random_scaling": {"random_scaling": True},
    "self_improving": {"self_improving": True},
    "preprocess": {"preprocess": "Clamp"},
    "log_and_sign_k": {"log_and_sign_k": 10.0},
    "output_scale": {"output_scale": 0.1},
    "teacher_steps": {"teacher_steps": 2},
    "teacher_learning_rate": {"teacher_learning_rate": 0.1},
    "imitation_distance": {"imitation_distance": "half_mean"},
    "objective": {"objective": "log_ratio"},
    "meta_optimizer": {"meta_optimizer": "rmsprop"},
    "clip_value": {"clip_value": 1e-6},
    "long_tail_windows": {"long_tail_windows": "3,5"},
    "long_tail_steps": {"long_tail_steps": "3,5"},
}


def one_meta_epoch(**options):
    """`(report, weights)`, of an imitation where the options are about one."""
    if any(name.startswith(("teacher", "imitation")) for name in options):
        options = {"imitation": True, "imitation_ratio": 1.0, "teachers": "sgd", **options}
    with training.eagerly():
        trained = training.trainer(**options)
        return trained.advance().report, training.weights(trained)


@pytest.fixture(scope="module")
def ordinary():
    return one_meta_epoch()


@pytest.fixture(scope="module")
def imitated():
    return one_meta_epoch(imitation=True)


class TestOptions:
    @pytest.mark.parametrize("name", OPTIONS)
    def test_has_an_effect(self, name, ordinary, imitated):
        report, found = one_meta_epoch(**OPTIONS[name])
        expected_report, expected = imitated if name.startswith(("teacher", "imitation")) else ordinary
        assert not report.diverged
        assert any(found[key].shape != value.shape or np.any(found[key] != value) for key, value in expected.items())
        if name == "clip_norm":
            assert report.gradient_norm == pytest.approx(expected_report.gradient_norm, rel=0.2)
            assert report.gradient_norm > 100 * OPTIONS[name]["clip_norm"]

    def test_objective(self):
        """One window of the same run, judged in three ways."""
        total, mean, final = (one_meta_epoch(num_steps=4, objective=name)[0] for name in ("sum", "mean", "final"))
        assert total.final_loss == mean.final_loss == final.final_loss == final.meta_loss
        assert total.meta_loss == pytest.approx(5 * mean.meta_loss, rel=1e-6)
        assert mean.meta_loss != final.meta_loss

    def test_distance(self):
        """Eq. (1) sums squares over T steps and N = 4 coordinates, the original program half of their mean over N."""
        options = {"num_steps": 4, "imitation": True, "imitation_ratio": 1.0, "teachers": "sgd"}
        total, half = (one_meta_epoch(**options, imitation_distance=name)[0] for name in ("sum", "half_mean"))
        assert total.meta_loss == pytest.approx(2 * 4 * half.meta_loss, rel=1e-5)

    def test_self_improving_fades_out(self):
        """After its meta-epochs only the student acts: the same meta-epoch as without."""
        late = [training.trainer(**options) for options in ({}, {"self_improving": True, "self_improving_epochs": 3})]
        for trained in late:
            trained.standing.epoch = 3
        with training.eagerly():
            plain, mixed = (trained.advance().report for trained in late)
        assert mixed.meta_loss == pytest.approx(plain.meta_loss, rel=1e-5)
        assert mixed.final_loss == pytest.approx(plain.final_loss, rel=1e-5)

    def test_judge(self):
        """The same run, measured on its own minibatch, on one or two fixed ones, and on all images."""
        losses = []
        for judge in ({}, *({"judge": "sample", "judge_minibatches": n} for n in (1, 2)), {"judge": "whole"}):
            chosen = training.config(problem="digits", num_steps=4, **judge)
            trained = MetaTrainer(chosen, make_optimizees(chosen), make_student(chosen))
            with training.eagerly():
                losses.append(trained.advance().report.final_loss)
        assert len(set(losses)) == 4
        assert losses == pytest.approx([losses[-1]] * 4, rel=0.05)

    def test_a_run_that_explodes_ends(self):
        with training.eagerly():
            report = training.trainer(max_growth=1.0 + 1e-6, output_scale=50.0).advance().report
        assert report.exploded and not report.diverged and (report.num_windows, report.num_steps) == (1, 4)

    def test_turns_in_windows_of_any_length(self):
        """Compiled: the loop over windows wants shapes that stay."""
        report = training.trainer(self_improving=True, long_tail_steps="3,2,5").advance().report
        assert report.num_windows >= 1 and not report.diverged

    def test_states_are_kept(self):
        """The second run begins where the first one's last window began; a checkpoint must hold that."""
        with training.eagerly():
            kept, fresh = (training.trainer(keep_states=choice) for choice in (True, False))
            first = [trained.advance().report.final_loss for trained in (kept, fresh)]
            second = [trained.advance().report.final_loss for trained in (kept, fresh)]
        assert first[0] == first[1] and second[0] != second[1]
        assert "kept" in kept.checkpointables() and "kept" not in fresh.checkpointables()


BOWLS = {"problem": "bowl_problems", "num_epochs": 8, "evaluation_period": 8, "num_runs_validation": 4}


class TestSets:
    def test_each_meta_epoch_gets_a_member_by_chance(self):
        chosen = training.config(**BOWLS)
        trained = MetaTrainer(chosen, make_optimizees(chosen), make_student(chosen))
        with training.eagerly():
            events = [trained.advance() for _ in range(8)]
        names = [event.problem for event in events]
        assert len(set(names)) > 1 and all(name.startswith("bowl(condition=") for name in names)
        (validation,) = events[-1].validations
        assert validation.losses.shape == (4, 8)
        assert -1 < validation.cost < 1 < validation.losses.max() - validation.losses.min()

    @pytest.mark.parametrize("options", [{"judge": "sample"}, {"judge": "steps", "second_derivatives": True}])
    def test_a_member_with_data_and_gaps_in_its_gradients(self, options):
        """Compiled, since only then a gradient of its data could have no place."""
        chosen = training.config(problem="scale_meta", optimizer="RNNprop", num_steps=4, **options)
        problem = make_optimizees(chosen)[100]
        assert problem.name.startswith("fully_connected") and problem.name.endswith("sparse_gradient()")
        report = MetaTrainer(chosen, [problem], make_student(chosen)).advance().report
        assert report.num_windows == 1 and not report.diverged

    def test_the_members_start_as_told(self):
        problem = make_optimizees(training.config(**BOWLS, problem_stddev=100.0))[0]
        assert np.abs(next(iter(problem.init(make_seed(1))[0].values()))).max() > 10


class TestStudents:
    def test_parameters_without_an_entry_are_refused_before_anything_is_compiled(self):
        with pytest.raises(ValueError, match="'x', which matches none of"):
            training.trainer(net_assignments="w*=L2O-DM")

    @pytest.mark.parametrize("options", [{"optimizer": "adam"}, {"net_assignments": "*=adam"}])
    def test_nothing_to_train(self, options):
        with pytest.raises(ValueError, match=f"--{next(iter(options))}=.*, where nothing can be trained"):
            training.trainer(**options)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("L2O", "expected one of .* or path/to/file.py:Cell. Did you mean"),
            ("assigned", "expected one of .* or path/to/file.py:Cell.$"),
            ("Adamm", "expected one of .* or path/to/file.py:Cell.$"),
            ("RNNProp", r"Did you mean RNNprop\?$"),
            ("L2O-DM-CL", "of L2O-DM. To train them further: --initial_weights=L2O-DM-CL"),
        ],
    )
    def test_unknown(self, name, words):
        """Nothing is suggested that would be refused in turn."""
        with pytest.raises(ValueError, match=f"Received --optimizer={name}, .*{words}"):
            training.trainer(optimizer=name)

    @pytest.mark.parametrize("name", ["L2O-DM", "assigned", "adma"])
    def test_unknown_teacher(self, name):
        with pytest.raises(ValueError, match=f"Received teacher '{name}', expected one of"):
            training.trainer(imitation=True, teachers=name)

    def test_assigned(self):
        trained = training.trainer(net_assignments="x=L2O-DM")
        assert training.weights(trained).keys() == {f"0/{name}" for name in training.weights(training.trainer())}


def test_annealing_begins_anew_with_every_period():
    """By hand for a period of four: `α/2 (1 + cos(π e/4))`, of every lesson's meta-optimizer."""
    with training.eagerly():
        trained = training.trainer(anneal=True, evaluation_period=4, imitation=True, teachers="sgd")
        rates = []
        for _ in range(6):
            trained.advance()
            rates.append([float(o.learning_rate.numpy()) for o in trained._meta_optimizers.values()])
    expected = [0.01, 0.00853553, 0.005, 0.00146447, 0.01, 0.00853553]
    np.testing.assert_allclose(rates, np.transpose([expected, expected]), rtol=1e-5)


def test_the_learning_rate_falls_from_stage_to_stage():
    with training.eagerly():
        trained = training.trainer(**training.TECHNIQUES, stage_decay=0.5)
        for stage, expected in ((0, 0.01), (2, 0.0025)):
            trained.standing.curriculum = trained.standing.curriculum._replace(stage=stage)
            trained._set_learning_rate()
            rates = [float(o.learning_rate.numpy()) for o in trained._meta_optimizers.values()]
            np.testing.assert_allclose(rates, [expected] * 3, rtol=1e-6)
