"""Optimizees: what an optimizer is trained on and compared on.

A `Problem` (problems/base.py) is three pure functions and a name. `PROBLEMS` has a factory for each name;
`make_problem` calls it and explains what is wrong with its arguments. A new problem is a function that returns a
`Problem`, and a line in `PROBLEMS`; or a function in a file of the user's own, named `path/to/file.py:function`; or
what `from_keras` makes of a Keras model. `PROBLEM_SETS` has sets of problems, of which each run gets one.
docs/problems.md describes them all.

Importing this package loads nothing heavy; these names load TensorFlow when they are used.
"""

from problems.lazy import exports

_EXPORTS = {
    "PROBLEMS": "problems.registry:PROBLEMS",
    "PROBLEM_SETS": "problems.sets:PROBLEM_SETS",
    "DataError": "problems.datasets:DataError",
    "DataInfo": "problems.base:DataInfo",
    "DataOptions": "problems.datasets:DataOptions",
    "Problem": "problems.base:Problem",
    "ensemble": "problems.registry:ensemble",
    "from_keras": "problems.keras_model:from_keras",
    "make_problem": "problems.registry:make_problem",
}
__all__ = list(_EXPORTS)
__getattr__, __dir__ = exports(__name__, _EXPORTS)
