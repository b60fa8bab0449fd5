"""Optimizees: what an optimizer is trained on and compared on.

A `Problem` (problems/base.py) is three pure functions and a name. There are three ways to get one: `make_problem` by
name (problems/registry.py lists the names), `from_keras` from a Keras model and data, and a function in a file of one's
own, named `path/to/file.py:function`. `PROBLEM_SETS` has sets of problems; each run gets one member by chance.

- base.py, contract.py: what a problem is and how it is measured; a check that a problem is sound
- toys/, images/, keras/: the problems
- transforms/: problems made of problems
- data/: data sets and minibatches; sets.py: the sets of L2O-Scale
- common/: helpers that know no problem

docs/problems.md describes all of them. Importing this package loads nothing heavy; its names load TensorFlow when they
are used. It does not use l2o_tf.
"""

from problems.common.lazy import exports

_EXPORTS = {
    "PROBLEMS": "problems.registry:PROBLEMS",
    "PROBLEM_SETS": "problems.sets:PROBLEM_SETS",
    "DataError": "problems.data.datasets:DataError",
    "DataInfo": "problems.base:DataInfo",
    "DataOptions": "problems.data.datasets:DataOptions",
    "Problem": "problems.base:Problem",
    "ensemble": "problems.registry:ensemble",
    "from_keras": "problems.keras.model:from_keras",
    "make_problem": "problems.registry:make_problem",
    "measured_on": "problems.transforms.coordinates:measured_on",
    "objective_of": "problems.base:objective_of",
}
__all__ = list(_EXPORTS)
__getattr__, __dir__ = exports(__name__, _EXPORTS)
