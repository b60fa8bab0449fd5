"""Whose defaults: what published programs do differently from the paper, whose values are the defaults of `Config`.

A preset sets options; those that are given explicitly override it. Some belong to one optimizer only.
"""

from collections.abc import Iterable
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "original": {
        "num_epochs": 10_000,
        "validation_seeds": "fresh",
        "imitation_ratios": "0.0,0.1,0.3,0.3,0.3,0.3,0.3,0.3",
        "imitation_distance": "half_mean",
        "teachers": "adam",
        "teacher_choice": "cycle",
    },
    "rnnprop2017": {
        "optimizer": "RNNprop",
        "objective": "penultimate",
        "learning_rate": 1e-4,
        "problem_stddev": 0.1,
        "random_scaling": True,
        "convex_term": True,
    },
}
"""Preset -> option -> value.

* `original`: the scripts and README of the program released with the paper.
* `rnnprop2017`: the program of Lv, Jiang and Li (https://github.com/vfleaking/rnnprop). Two things differ: its
  minibatches go through the shuffled images one after the other, from run to run, and here they are drawn
  independently; and it begins its LSTMs as TensorFlow 0.12 did, here they begin as in Sonnet 1.
"""

OF_OPTIMIZER: dict[tuple[str, str], dict[str, Any]] = {
    ("paper", "L2O-Scale"): {
        "objective": "log_ratio",
        "judge": "sample",
        "judge_minibatches": 8,
    },
    ("original", "L2O-Scale"): {
        "num_epochs": 100,
        "evaluation_period": 1,
        "objective": "log_ratio_original",
        "judge": "sample",
        "meta_gradient": "whole_run",
        "meta_optimizer": "rmsprop",
        "learning_rate": 1e-6,
        "clip_value": 1e4,
        "zero_nonfinite": True,
        "keep_states": True,
        "problem_stddev": 1.0,
        "curriculum_steps": "100,200,500,1000,1500,2000,2500,3000,3500,4000,4500,5000",
        "imitation_ratio": 0.1,
        "imitation_ratios": "0.1",
    },
    ("original", "RNNprop"): {"evaluation_period": 10, "imitation_ratios": "0.3,0.3,0.3"},
    ("rnnprop2017", "RNNprop"): {"architecture": "feature_order=gm,projection_stddev=0.1,scale=0.1"},
}
"""(Preset, optimizer) -> what that preset sets for that optimizer besides."""


def values(preset: str, kinds: Iterable[str]) -> dict[str, Any]:
    """What a preset sets if these optimizers are trained; where two differ, the later one decides."""
    found = dict(PRESETS[preset])
    for kind in kinds:
        found |= OF_OPTIMIZER.get((preset, kind), {})
    return found
