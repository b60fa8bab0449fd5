"""What type checkers see of the public names, which `__init__.py` loads when they are used."""

from problems.base import DataInfo as DataInfo
from problems.base import Problem as Problem
from problems.base import objective_of as objective_of
from problems.data.datasets import DataError as DataError
from problems.data.datasets import DataOptions as DataOptions
from problems.keras.model import from_keras as from_keras
from problems.registry import PROBLEMS as PROBLEMS
from problems.registry import ensemble as ensemble
from problems.registry import make_problem as make_problem
from problems.sets import PROBLEM_SETS as PROBLEM_SETS
from problems.transforms.coordinates import measured_on as measured_on
