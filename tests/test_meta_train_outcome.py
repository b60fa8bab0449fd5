"""What the script says in the end."""

from types import SimpleNamespace

from l2o_tf.cli import meta_train
from l2o_tf.training import curriculum
from l2o_tf.training.standing import Standing


def test_how_it_ended():
    """Weights that no validation has seen are not called trained."""

    def outcome(finished=True, initial_weights="", **standing):
        state = Standing(**{"curriculum": curriculum.initial_state(), **standing})
        config = SimpleNamespace(initial_weights=initial_weights)
        return meta_train._outcome(SimpleNamespace(standing=state, finished=finished, config=config))

    begun, validated = curriculum.with_baseline(0), curriculum.initial_state()._replace(best=1.0)
    infinite = [{"cost": float("inf")}]
    assert "No validation had a finite cost: the weights are those it began with" in outcome(history=infinite)
    assert "No validation had a finite cost" in outcome(finished=False, history=infinite)
    assert "Stopped before the first validation: the weights" in outcome(finished=False)
    assert outcome(finished=False, curriculum=validated) == "Stopped."
    assert outcome(curriculum=validated._replace(improved=True)) == "All meta-epochs are done."
    assert "No validation beat" in outcome(initial_weights="L2O-DM", curriculum=begun._replace(best=1.0))
    further = [{"stage": 0, "cost": cost} for cost in (0.4, 0.3, 0.35)]  # the first is that of the initial weights
    better = begun._replace(best=0.3, improved=True)
    told = outcome(initial_weights="L2O-DM", curriculum=better, history=further)
    assert told == "Best validation: 0.3. The weights that this stage began with had 0.4."
    assert outcome(stopped="Why.", curriculum=validated) == "Why."
