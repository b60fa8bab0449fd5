"""What type checkers see of the public names, which `__init__.py` loads when they are used."""

from l2o_tf.common.cluster import connect as connect
from l2o_tf.common.names import pretrained_names as list_pretrained
from l2o_tf.evaluating.comparison import evaluate as evaluate
from l2o_tf.evaluating.results import Results as Results
from l2o_tf.keras_optimizer.guard import Guard as Guard
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer as LearnedOptimizer
from l2o_tf.optimizers import L2ODM as L2ODM
from l2o_tf.optimizers import L2OScale as L2OScale
from l2o_tf.optimizers import RNNprop as RNNprop
from l2o_tf.optimizers import make_optimizer as make_optimizer
from l2o_tf.optimizers.base import Optimizer as Optimizer
from l2o_tf.optimizers.base import Step as Step
from l2o_tf.optimizers.preprocess import log_and_sign as log_and_sign
from l2o_tf.saving.loading import load as load
from l2o_tf.saving.weights import save as save
from l2o_tf.training.curriculum import Curriculum as Curriculum
from l2o_tf.training.lessons.imitation import Imitation as Imitation
from l2o_tf.training.lessons.kept_states import KeptStates as KeptStates
from l2o_tf.training.lessons.lesson import Lesson as Lesson
from l2o_tf.training.lessons.lesson import Setting as Setting
from l2o_tf.training.lessons.lesson import Technique as Technique
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory as OwnTrajectory
from l2o_tf.training.lessons.self_improving import SelfImproving as SelfImproving
from l2o_tf.training.meta_optimizers import CosinePeriods as CosinePeriods
from l2o_tf.training.meta_optimizers import RMSprop1 as RMSprop1
from l2o_tf.training.meta_optimizers import RunningAverage as RunningAverage
from l2o_tf.training.meta_optimizers import StageDecay as StageDecay
from l2o_tf.training.meta_training import MetaTrainer as MetaTrainer
from l2o_tf.training.meta_training import TrainingResult as TrainingResult
from l2o_tf.training.validation import Validation as Validation
from l2o_tf.training.windows import LongTail as LongTail
from l2o_tf.training.windows import Windows as Windows
from l2o_tf.unrolling import objectives as objectives
from l2o_tf.unrolling.meta_gradients import FirstOrder as FirstOrder
from l2o_tf.unrolling.meta_gradients import MetaGradient as MetaGradient
from l2o_tf.unrolling.meta_gradients import Sampled as Sampled
from l2o_tf.unrolling.meta_gradients import WholeRun as WholeRun
from l2o_tf.unrolling.meta_gradients import ZeroNonfinite as ZeroNonfinite
from problems.base import Problem as Problem
from problems.base import objective_of as objective_of
from problems.common.startup import import_tensorflow as import_tensorflow
from problems.keras.model import from_keras as from_keras
from problems.registry import make_problem as make_problem
from problems.transforms.coordinates import measured_on as measured_on

__version__: str
