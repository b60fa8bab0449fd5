"""Learning to optimize: optimizers that are trained, in TensorFlow.

    l2o_tf.list_pretrained()                # names of the trained optimizers that ship
    l2o_tf.load("RNNprop-CL-IL")            # one of them, for the unroll; or the folder of a run
    l2o_tf.save(optimizer, "weights/mine")  # writes one that is in memory
    l2o_tf.LearnedOptimizer("L2O-DM")       # for `model.compile`: of a name, a folder, or an optimizer in memory
    l2o_tf.evaluate(["L2O-DM", "Adam:0.01"], "mnist")    # runs, a table, a picture

Importing this package loads nothing heavy; these names load what they need when they are used. After it, Keras loads
models that were saved with a learned optimizer.
"""

from l2o_tf.common.version import VERSION
from l2o_tf.keras_optimizer import registration
from problems.common.lazy import exports

__version__ = VERSION

__getattr__, __dir__ = exports(
    __name__,
    {
        "L2ODM": "l2o_tf.optimizers:L2ODM",
        "RNNprop": "l2o_tf.optimizers:RNNprop",
        "L2OScale": "l2o_tf.optimizers:L2OScale",
        "make_optimizer": "l2o_tf.optimizers:make_optimizer",
        "Optimizer": "l2o_tf.optimizers.base:Optimizer",
        "Step": "l2o_tf.optimizers.base:Step",
        "Lesson": "l2o_tf.training.lessons.lesson:Lesson",
        "Setting": "l2o_tf.training.lessons.lesson:Setting",
        "Technique": "l2o_tf.training.lessons.lesson:Technique",
        "OwnTrajectory": "l2o_tf.training.lessons.own_trajectory:OwnTrajectory",
        "Imitation": "l2o_tf.training.lessons.imitation:Imitation",
        "SelfImproving": "l2o_tf.training.lessons.self_improving:SelfImproving",
        "KeptStates": "l2o_tf.training.lessons.kept_states:KeptStates",
        "MetaGradient": "l2o_tf.unrolling.meta_gradients:MetaGradient",
        "FirstOrder": "l2o_tf.unrolling.meta_gradients:FirstOrder",
        "Sampled": "l2o_tf.unrolling.meta_gradients:Sampled",
        "WholeRun": "l2o_tf.unrolling.meta_gradients:WholeRun",
        "ZeroNonfinite": "l2o_tf.unrolling.meta_gradients:ZeroNonfinite",
        "objectives": "l2o_tf.unrolling.objectives",
        "log_and_sign": "l2o_tf.optimizers.preprocess:log_and_sign",
        "import_tensorflow": "problems.common.startup:import_tensorflow",
        "MetaTrainer": "l2o_tf.training.meta_training:MetaTrainer",
        "TrainingResult": "l2o_tf.training.meta_training:TrainingResult",
        "connect": "l2o_tf.common.cluster:connect",
        "Curriculum": "l2o_tf.training.curriculum:Curriculum",
        "Windows": "l2o_tf.training.windows:Windows",
        "LongTail": "l2o_tf.training.windows:LongTail",
        "Validation": "l2o_tf.training.validation:Validation",
        "RunningAverage": "l2o_tf.training.meta_optimizers:RunningAverage",
        "StageDecay": "l2o_tf.training.meta_optimizers:StageDecay",
        "CosinePeriods": "l2o_tf.training.meta_optimizers:CosinePeriods",
        "RMSprop1": "l2o_tf.training.meta_optimizers:RMSprop1",
        "Problem": "problems:Problem",
        "from_keras": "problems:from_keras",
        "make_problem": "problems:make_problem",
        "measured_on": "problems:measured_on",
        "objective_of": "problems:objective_of",
        "Results": "l2o_tf.evaluating.results:Results",
        "evaluate": "l2o_tf.evaluating.comparison:evaluate",
        "list_pretrained": "l2o_tf.common.names:pretrained_names",
        "load": "l2o_tf.saving.loading:load",
        "save": "l2o_tf.saving.weights:save",
        "LearnedOptimizer": "l2o_tf.keras_optimizer.optimizer:LearnedOptimizer",
        "Guard": "l2o_tf.keras_optimizer.guard:Guard",
    },
)

registration.register()
