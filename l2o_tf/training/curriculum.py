"""When to train on longer runs, and when to stop: Algorithm 1 of the paper as a pure state machine.

Early in meta-training an optimizer is too poor for long runs to teach it anything; late in meta-training short runs
teach it only greed. The curriculum (paper, section 3.2) therefore trains in *stages* with horizons
`N_train = 100, 200, 500, ...` and judges each stage on the horizon of the next one, `N_valid[i] = N_train[i + 1]`.

A *period* is a fixed number of meta-epochs followed by one validation. A stage lasts at least `min_periods` periods
and goes on while the last period was its best. Then the stage's best weights are restored and the next stage begins,
its baseline to beat being those weights validated over the *new* validation horizon. A stage that never beats its
baseline ends the curriculum. This module knows no weights; it receives costs and answers with what to do::

    curriculum, state = Curriculum(), CurriculumState()
    while state.phase is not Phase.STOPPED:
        train_one_period(curriculum.num_steps_train[state.stage])
        state = step(curriculum, state, validate(curriculum.num_steps_validation[state.stage]))
        if state.is_best:
            save_weights()
        elif state.phase is Phase.BASELINE:
            restore_the_weights_that_were_saved_last()
            state = rebaseline(state, validate(curriculum.num_steps_validation[state.stage]))

One invariant answers every question about weights: **what was saved last is the best**.

How this differs from the letter of Algorithm 1. There a stage goes on while `n <= N_period or L_val == L_min`. As in
the original program, the second condition is here "the last cost was *lower* than the best before it". By the letter, a
stage whose weights no longer move would go on without end, and so would stage 0, whose `L_min` the letter leaves
undefined. Here a tie is no improvement, stage 0 starts from infinity, and a NaN never improves.

How this differs from the original program. That one indexes past the end of its validation horizons when it leaves
its last usable stage; here no next stage means stop. And a baseline of NaN, which no cost could ever beat there,
counts as infinity here, so that a stage whose starting weights diverge may still recover.
"""

import dataclasses
import enum
import math
from typing import NamedTuple

NUM_STEPS_TRAIN = (100, 200, 500, 1000, 1500, 2000, 2500, 3000)
"""Horizons of the paper (appendix A1.2) and of the original program."""


class Phase(enum.StrEnum):
    """What the state machine is waiting for."""

    TRAINING = "training"  # the cost after the next period, for `step`
    BASELINE = "baseline"  # the cost of the stage's first weights, for `rebaseline`
    STOPPED = "stopped"  # nothing


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """Settings of the curriculum.

    Args:
        num_steps_train: training horizon per stage, rising positive ints. Default: those of the paper.
        num_steps_validation: validation horizon per stage. Default (None): the training horizon of the next stage. It
            decides the number of stages, so the last training horizon of the default list, 3000, is only validated on.
        min_periods: `N_period`, at least 1; a stage is not left before so many periods. Default 3, from the paper.
        patience: a stage is left once so many periods in a row did not improve, at least 1. The default 1 is
            Algorithm 1. Validation costs are noisy; larger values keep a stage alive through a few bad periods.
        reset_slots: whether the meta-optimizers begin a stage without their memory of the weights before. Default
            False, as in the original program.

    Raises:
        ValueError: if a value is out of range, or fewer horizons to train than to validate are given.

    Example:
        Two stages, of 50 and of 100 steps; the last horizon is only validated on:

        >>> import l2o_tf as l2o
        >>> l2o.Curriculum((50, 100, 200)).num_stages
        2
    """

    num_steps_train: tuple[int, ...] = NUM_STEPS_TRAIN
    num_steps_validation: tuple[int, ...] | None = None
    min_periods: int = 3
    patience: int = 1
    reset_slots: bool = False

    def __post_init__(self):
        for name in ("num_steps_train", "num_steps_validation"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) and (value is not None or name == "num_steps_train"):
                raise ValueError(f"Received {name}={value!r}, expected a horizon for each stage, such as (50, 100).")
        if not isinstance(self.reset_slots, bool):
            raise ValueError(f"Received reset_slots={self.reset_slots!r}, expected True or False.")
        train = tuple(self.num_steps_train)
        validation = train[1:] if self.num_steps_validation is None else tuple(self.num_steps_validation)
        object.__setattr__(self, "num_steps_train", train)
        object.__setattr__(self, "num_steps_validation", validation)
        for name, values in (
            ("num_steps_train", train),
            ("num_steps_validation", validation),
            ("min_periods", (self.min_periods,)),
            ("patience", (self.patience,)),
        ):
            if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 1 for value in values):
                raise ValueError(f"Received {name}={getattr(self, name)!r}, expected positive integers.")
        if list(train) != sorted(set(train)):
            raise ValueError(f"Received num_steps_train={train}, expected rising horizons.")
        if not validation or len(train) < len(validation):
            raise ValueError(
                f"Received num_steps_train={train} and num_steps_validation={validation}, expected at least one stage, "
                "that is one validation horizon, and a training horizon for each; without num_steps_validation give at "
                "least two training horizons, since the last one is only validated on."
            )

    @property
    def num_stages(self) -> int:
        """How many stages there are; 7 by default, the last trained on 2500 steps and validated on 3000."""
        return len(self.num_steps_validation)


def single_stage(num_steps: int) -> Curriculum:
    """One stage of runs of `num_steps` steps, validated over as many, which never ends of itself."""
    return Curriculum((num_steps,), (num_steps,), min_periods=2**31)


class CurriculumState(NamedTuple):
    """Where the curriculum stands. Default: stage 0, before its first period, with an infinite baseline.

    Attributes:
        stage: index of the stage, from 0.
        periods: periods finished in this stage.
        stale: periods in a row, of this stage, since the last improvement.
        best: lowest validation cost of this stage, its baseline included; infinity where there is none yet.
        improved: whether this stage has beaten its baseline.
        phase: what is awaited next.
    """

    stage: int = 0
    periods: int = 0
    stale: int = 0
    best: float = math.inf
    improved: bool = False
    phase: Phase = Phase.TRAINING

    @property
    def is_best(self) -> bool:
        """Whether the last period was the best of its stage."""
        return self.periods > 0 and self.stale == 0


def with_baseline(stage: int) -> CurriculumState:
    """A stage before its first period, whose first weights, given or the best of the stage before, are to be beaten."""
    return CurriculumState(stage, phase=Phase.BASELINE)


def step(curriculum: Curriculum, state: CurriculumState, validation_cost: float) -> CurriculumState:
    """Takes the cost at the end of a period, over `num_steps_validation[stage]` steps; NaN is no improvement.

    What to do follows from the new state: keep these weights where `is_best`; restore those that were kept last, and
    call `rebaseline`, in phase `BASELINE`; finish in phase `STOPPED`.
    """
    if validation_cost < state.best:
        return state._replace(periods=state.periods + 1, stale=0, best=validation_cost, improved=True)
    state = state._replace(periods=state.periods + 1, stale=state.stale + 1)
    if state.periods < curriculum.min_periods or state.stale < curriculum.patience:
        return state
    if state.improved and state.stage + 1 < curriculum.num_stages:
        return with_baseline(state.stage + 1)
    return state._replace(phase=Phase.STOPPED)


def rebaseline(state: CurriculumState, validation_cost: float) -> CurriculumState:
    """Sets what a stage has to beat: the cost of the weights that it begins with. NaN counts as infinity."""
    best = math.inf if math.isnan(validation_cost) else validation_cost
    return state._replace(best=best, phase=Phase.TRAINING)


def has_result(state: CurriculumState) -> bool:
    """Whether any weights were ever worth saving; False only while stage 0 has seen no finite cost."""
    return state.best < math.inf or state.stage > 0


def stop_reason(state: CurriculumState) -> str:
    """Why the curriculum has stopped, in a sentence."""
    if state.improved:
        return f"Stage {state.stage} is finished and there is no next stage; its best weights are the result."
    if not has_result(state):
        return f"No validation cost was below infinity in the {state.periods} periods of stage 0; there is no result."
    began = f"the best weights of stage {state.stage - 1}" if state.stage else "the weights it began with"
    return (
        f"Stage {state.stage} did not beat its baseline {state.best:.6g} in {state.periods} periods; {began} are the "
        "result."
    )
