"""Different optimizers for different parameters: DeepMind's `net_assignments`.

Each parameter goes to the first entry whose pattern matches its name::

    Assigned([("x_0", CoordinatewiseOptimizer(DMCell())), ("x_*", adam(0.01))])
    Assigned([("conv*", learned_for_convolutions), ("*", learned_for_the_rest)])
    Assigned([("embedding*", FROZEN), ("*", learned)])

Every entry has its own state and, if it learns, its own meta-parameters, which are meta-trained together. Parameters
that go to `FROZEN` stay where they begin: that entry has updates of zero and no state.
"""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from l2o_tf.optimizers.base import Analytic, Loop, Optimizer, Params
from problems.base import fold

FROZEN = Analytic(
    "frozen", lambda params: (), lambda grads, state, params: ({k: tf.zeros_like(p) for k, p in params.items()}, state)
)
"""The optimizer of parameters that stay as they are."""


class Assigned(Optimizer):
    """Several optimizers, each for the parameters whose names match its pattern.

    Args:
        assignments: `(pattern, optimizer)` pairs; patterns as in `fnmatch` (`*`, `?`, `[...]`).

    Raises:
        ValueError: if these are no such pairs, or there is none; in `initial_state`, if a parameter matches no pattern
            or a pattern takes no parameter.
    """

    def __init__(self, assignments: Sequence[tuple[str, Optimizer]]):
        self.assignments = list(assignments) if isinstance(assignments, Iterable) else []
        pairs = [each for each in self.assignments if isinstance(each, tuple | list) and len(each) == 2]
        right = [isinstance(pattern, str) and isinstance(optimizer, Optimizer) for pattern, optimizer in pairs]
        if not right or not all(right) or len(right) < len(self.assignments):
            raise ValueError(f"Received assignments {assignments!r}, expected pairs (pattern, optimizer).")
        self.name = self.kind = "assigned"
        self.architecture = {"assignments": [[pattern, o.kind, o.architecture] for pattern, o in self.assignments]}

    def split(self, params: Params) -> list[Params]:
        """The parameters of each entry, in the order of the entries."""
        groups: list[Params] = [{} for _ in self.assignments]
        for key, value in params.items():
            for group, (pattern, _) in zip(groups, self.assignments, strict=True):
                if fnmatch.fnmatchcase(key, pattern):
                    group[key] = value
                    break
            else:
                patterns = [pattern for pattern, _ in self.assignments]
                raise ValueError(f"Received parameter {key!r}, which matches none of {patterns}; add an entry for '*'.")
        for group, (pattern, _) in zip(groups, self.assignments, strict=True):
            if not group:
                raise ValueError(f"Received pattern {pattern!r}, which takes none of the parameters {list(params)}.")
        return groups

    def initial_state(self, params, seed):
        parts = zip(self.assignments, self.split(params), strict=True)
        return [optimizer.initial_state(part, fold(seed, i)) for i, ((_, optimizer), part) in enumerate(parts)]

    def update(self, step, state):
        return self._each([optimizer.update for _, optimizer in self.assignments], step, state)

    def loop(self):
        loops = [optimizer.loop() for _, optimizer in self.assignments]
        return Loop(
            lambda state: [loop.enter(part) for loop, part in zip(loops, state, strict=True)],
            lambda step, state: self._each([loop.update for loop in loops], step, state),
            lambda state: [loop.leave(part) for loop, part in zip(loops, state, strict=True)],
        )

    def _each(self, rules, step, state):
        found, states = {}, []
        for rule, grads, params, own in zip(rules, self.split(step.grads), self.split(step.params), state, strict=True):
            updates, after = rule(step._replace(grads=grads, params=params), own)
            found |= updates
            states.append(after)
        return {key: found[key] for key in step.params}, states

    def diagnose(self, grads, state):
        """Of each entry, under its number."""
        parts = zip(self.assignments, self.split(grads), state, strict=True)
        return _numbered(optimizer.diagnose(own, part) for (_, optimizer), own, part in parts)

    @property
    def named_variables(self):
        return _numbered(optimizer.named_variables for _, optimizer in self.assignments)


def _numbered(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All entries of the parts, under the number of their part and their name."""
    return {f"{index}/{name}": value for index, part in enumerate(parts) for name, value in part.items()}
