"""The running average of meta-parameters against the recursion by hand."""

import keras
import numpy as np
import pytest

from l2o_tf import RunningAverage
from l2o_tf.training.meta_optimizers import AveragedVariables
from tests.l2o_tf import training


def follow(momentum, values):
    """`(average after each update, its variables)` of one variable that takes these values in turn."""
    phi = keras.Variable(100.0)
    average, seen = AveragedVariables([phi], momentum), []
    for value in values:
        phi.assign(value)
        average.update()
        seen.append(float(average.variables[0].numpy()))
    return seen, average, phi


def test_first_the_mean_then_exponential():
    """`1 - β = 1/4`: means of one to four values, then three quarters of the old and one of the new."""
    seen, _, _ = follow(0.75, [4.0, 8.0, 0.0, 4.0, 8.0, 0.0])
    np.testing.assert_allclose(seen, [4.0, 6.0, 4.0, 4.0, 5.0, 3.75], rtol=1e-6)


def test_without_momentum_it_is_the_value():
    values = [0.1, 1e8, -3.7e-9]
    np.testing.assert_array_equal(follow(0.0, values)[0], np.float32(values))


def test_restart():
    _, average, phi = follow(0.75, [4.0, 8.0])
    phi.assign(2.0)
    average.restart()
    assert average.variables[0].numpy() == 2.0
    phi.assign(7.0)
    average.update()
    assert average.variables[0].numpy() == 7.0


def test_in_place_and_back():
    seen, average, phi = follow(0.75, [4.0, 8.0])
    with average.in_place():
        assert phi.numpy() == seen[-1] == 6.0
    assert phi.numpy() == 8.0
    with pytest.raises(OSError, match="full"), average.in_place():
        raise OSError("full")
    assert phi.numpy() == 8.0


@pytest.mark.parametrize("momentum", [1.0, -0.1, "0.9", True, float("nan")])
def test_refused(momentum):
    with pytest.raises(ValueError, match="Received momentum=.*, expected a number from 0 to below 1"):
        RunningAverage(momentum)


class TestTrainer:
    def test_the_average_is_validated_and_kept(self):
        """Of one window per meta-epoch and a period of two: the mean of two weights, while training goes on as ever."""
        options = {"curriculum": 4, "num_epochs": 4}
        with training.eagerly():
            averaged, plain = training.trainer(average=RunningAverage(0.5), **options), training.trainer(**options)
            validated, validate = [], averaged._validate

            def spy():
                validated.append(training.weights(averaged))
                return validate()

            averaged._validate = spy
            training.scripted(averaged, [2.0, 3.0])
            weights = []
            for _ in range(4):
                averaged.advance()
                plain.advance()
                training.assert_same(training.weights(averaged), training.weights(plain))
                weights.append(training.weights(averaged))
        best = averaged.best_weights()
        training.assert_same(best, validated[0])
        for name, value in best.items():
            np.testing.assert_allclose(value, (weights[0][name] + weights[1][name]) / 2, rtol=1e-6, atol=1e-8)
        assert training.differ(best, weights[1])

    def test_nothing_is_averaged_by_default(self):
        assert "average" not in training.trainer().checkpointables()
        assert "average" in training.trainer(average=RunningAverage(0.9)).checkpointables()

    def test_a_new_stage_forgets_the_average(self):
        trained = training.trainer(**training.staged(period=1), average=RunningAverage(0.9), num_epochs=50)
        training.scripted(trained, [5.0, 6.0, 9.0, 8.0])
        with training.eagerly():
            for _ in range(2):
                trained.advance()
            count = trained.checkpointables()["average"][-1]
            assert (trained.state.curriculum.stage, count.numpy()) == (1, 0)
            training.assert_same(training.weights(trained), trained.best_weights())
            trained.advance()
            assert count.numpy() == 2
