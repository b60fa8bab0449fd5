"""Algorithm 1 against traces worked out by hand."""

import math

import pytest

from l2o_tf.training.curriculum import (
    Curriculum,
    CurriculumState,
    Phase,
    has_result,
    rebaseline,
    step,
    stop_reason,
    with_baseline,
)
from l2o_tf.training.state import TrainingState

NAN, INF = math.nan, math.inf
C, S, N, X = "continue", "save", "next stage", "stop"


def through_checkpoint(state):
    training = TrainingState()
    training.deserialize(TrainingState(curriculum=state).serialize())
    return training.curriculum


def run(curriculum, costs, state=None, through_json=False):
    """Feeds costs in order; returns the actions, None where a cost was taken as the baseline, and the last state."""
    state, actions = state or CurriculumState(), []
    for cost in costs:
        if through_json:
            state = through_checkpoint(state)
        if state.phase is Phase.BASELINE:
            state = rebaseline(state, cost)
            actions.append(None)
        else:
            state = step(curriculum, state, cost)
            actions.append({Phase.BASELINE: N, Phase.STOPPED: X}.get(state.phase, S if state.is_best else C))
    return actions, state


# name: (curriculum, costs, actions, (stage, best, has_result) at the end)
TRACES = {
    "stage_0_all_nan": (Curriculum(), [NAN, NAN, NAN], [C, C, X], (0, INF, False)),
    "stage_0_all_inf_is_no_tie": (Curriculum(), [INF, INF, INF], [C, C, X], (0, INF, False)),
    "nan_then_recovers": (Curriculum(), [NAN, NAN, 5.0, NAN], [C, C, S, N], (1, INF, True)),
    # Periods 2 and 3 are worse than 1: leave after the third, not before.
    "leaves_after_min_periods": (Curriculum(), [3.0, 4.0, 4.0], [S, C, N], (1, INF, True)),
    # The last of the three is the best, so the stage goes on, until a period is not.
    "improving_in_last_period": (
        Curriculum(),
        [3.0, 4.0, 2.0, 1.0, 1.5],
        [S, C, S, S, N],
        (1, INF, True),
    ),
    # Costs below stage 0's best, but above the baseline of stage 1.
    "stage_1_never_improves": (
        Curriculum(),
        [9.0, 9.5, 9.5, 4.0, 4.5, 5.0, 4.1],
        [S, C, N, None, C, C, X],
        (1, 4.0, True),
    ),
    # The baseline is what counts: costs above the best of stage 0 still are improvements.
    "stage_1_improves_on_its_own_scale": (
        Curriculum(),
        [1.0, 2.0, 2.0, 7.0, 6.0, 6.5, 6.5],
        [S, C, N, None, S, C, N],
        (2, INF, True),
    ),
    "tie_is_no_improvement": (Curriculum(), [2.0, 2.0, 2.0], [S, C, N], (1, INF, True)),
    "tie_with_baseline_stops": (
        Curriculum(),
        [2.0, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0],
        [S, C, N, None, C, C, X],
        (1, 1.0, True),
    ),
    "nan_baseline_can_be_beaten": (
        Curriculum(),
        [2.0, 3.0, 3.0, NAN, 8.0, 9.0, 9.0],
        [S, C, N, None, S, C, N],
        (2, INF, True),
    ),
    "last_stage_has_no_next": (
        Curriculum(num_steps_train=(100, 200, 500)),
        [2.0, 3.0, 3.0, 5.0, 4.0, 4.5, 3.0, 3.5],
        [S, C, N, None, S, C, S, X],
        (1, 3.0, True),
    ),
    "min_periods_1": (Curriculum(min_periods=1), [2.0, 1.0, 1.5], [S, S, N], (1, INF, True)),
    # The single bad periods (third, fifth) are forgiven; two in a row are not.
    "patience_2": (
        Curriculum(patience=2),
        [5.0, 4.0, 4.5, 3.0, 3.5, 2.0, 2.5, 2.5],
        [S, S, C, S, C, S, C, N],
        (1, INF, True),
    ),
    # Longer than min_periods, so a stage that starts on a plateau gets five chances, and takes the fifth.
    "patience_5_rescues_stage_1": (
        Curriculum(patience=5, num_steps_train=(100, 200, 500, 1000)),
        [5.0] * 6 + [4.0] + [4.5] * 4 + [3.9],
        [S, C, C, C, C, N, None, C, C, C, C, S],
        (1, 3.9, True),
    ),
}


@pytest.mark.parametrize("through_json", [False, True], ids=["direct", "resumed_before_every_step"])
@pytest.mark.parametrize("name", TRACES)
def test_hand_worked_trace(name, through_json):
    curriculum, costs, expected, (stage, best, result) = TRACES[name]
    actions, state = run(curriculum, costs, through_json=through_json)
    assert actions == expected
    assert (state.stage, state.best, has_result(state)) == (stage, best, result)
    assert (state.phase is Phase.STOPPED) == (expected[-1] is X)


def test_default_stages_are_those_of_the_paper():
    curriculum = Curriculum()
    stages = list(zip(curriculum.num_steps_train, curriculum.num_steps_validation, strict=False))
    assert stages[0] == (100, 200)
    assert stages[-1] == (2500, 3000)
    assert curriculum.num_stages == 7


def test_whole_curriculum_ends_in_the_last_stage():
    per_stage = [2.0, 3.0, 3.0]
    actions, state = run(Curriculum(), per_stage + 6 * [2.5, *per_stage])
    assert actions.count(N) == 6
    assert actions[-1] is X
    assert state == CurriculumState(stage=6, periods=3, stale=2, best=2.0, improved=True, phase=Phase.STOPPED)
    assert "no next stage" in stop_reason(state)


@pytest.mark.parametrize(
    "state", [CurriculumState(), with_baseline(2), CurriculumState(3, best=0.1 + 0.2, improved=True)]
)
def test_state_survives_json_with_all_its_bits(state):
    again = through_checkpoint(state)
    assert again == state and again.phase is state.phase


@pytest.mark.parametrize(
    "settings",
    [
        {"num_steps_train": ()},
        {"num_steps_train": (100,)},
        {"num_steps_train": (100, 0)},
        {"num_steps_train": (100, 1.5)},
        {"num_steps_train": (200, 100, 300)},
        {"num_steps_train": (100, 100, 200)},
        {"num_steps_train": (100,), "num_steps_validation": (200, 500)},
        {"min_periods": 0},
        {"patience": 0},
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="expected"):
        Curriculum(**settings)


def test_validation_horizons_can_be_given():
    curriculum = Curriculum(num_steps_train=(1000,), num_steps_validation=(1500,))
    assert curriculum.num_stages == 1
    assert run(curriculum, [2.0, 3.0, 3.0])[0] == [S, C, X]


def test_stop_reasons_name_the_result():
    _, failed = run(*TRACES["stage_1_never_improves"][:2])
    assert "stage 0 are the result" in stop_reason(failed)
    _, nothing = run(*TRACES["stage_0_all_nan"][:2])
    assert "no result" in stop_reason(nothing)
