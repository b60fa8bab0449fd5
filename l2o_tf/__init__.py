"""Learning to optimize: optimizers that are trained, in TensorFlow.

    l2o_tf.list_pretrained()                # names of the trained optimizers that ship
    l2o_tf.load("RNNprop-CL-IL")            # one of them, for the unroll; or the folder of a run
    l2o_tf.LearnedOptimizer("L2O-DM")       # the same for `model.compile`
    l2o_tf.evaluate(["L2O-DM", "Adam:0.01"], "mnist")    # runs, a table, a picture

Importing this package loads nothing heavy; these names load what they need when they are used. After it, Keras loads
models that were saved with a learned optimizer.
"""

from l2o_tf.common.version import VERSION
from l2o_tf.keras_optimizer import registration
from problems.lazy import exports

__version__ = VERSION

__getattr__, __dir__ = exports(
    __name__,
    {
        "MetaTrainer": "l2o_tf.training.trainer:MetaTrainer",
        "Result": "l2o_tf.training.trainer:Result",
        "Curriculum": "l2o_tf.training.curriculum:Curriculum",
        "Windows": "l2o_tf.training.windows:Windows",
        "LongTail": "l2o_tf.training.windows:LongTail",
        "Validation": "l2o_tf.training.validation:Validation",
        "RunningAverage": "l2o_tf.training.averaging:RunningAverage",
        "StageDecay": "l2o_tf.training.schedules:StageDecay",
        "CosinePeriods": "l2o_tf.training.schedules:CosinePeriods",
        "RMSprop1": "l2o_tf.training.meta_optimizers:RMSprop1",
        "Results": "l2o_tf.evaluating.results:Results",
        "evaluate": "l2o_tf.evaluating.comparison:evaluate",
        "list_pretrained": "l2o_tf.common.names:pretrained_names",
        "load": "l2o_tf.saving.loading:load",
        "LearnedOptimizer": "l2o_tf.keras_optimizer.optimizer:LearnedOptimizer",
    },
)

registration.register()
