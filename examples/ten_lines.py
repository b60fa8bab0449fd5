"""Ten lines: meta-train an optimizer on your own Keras model, compare it with Adam, draw it, and use it in `fit`."""

import keras

import l2o_tf as l2o

x = keras.random.normal((512, 4), seed=0)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
student, task = l2o.RNNprop(seed=0), l2o.from_keras(model, "mse", (x, x[:, :1] * x[:, 1:2]))
lessons, curriculum = (l2o.OwnTrajectory(), l2o.Imitation(("adam",))), l2o.Curriculum((40, 100, 200))
l2o.MetaTrainer(student, task, lessons=lessons, curriculum=curriculum).run("runs/mine", epochs=80)
l2o.evaluate([student, "Adam:0.001", "Adam:0.01", "Adam:0.1"], task, num_steps=500, num_runs=5).plot("mine.png")
model.compile(optimizer=l2o.LearnedOptimizer(student), loss="mse")
model.fit(x, x[:, :1] * x[:, 1:2], epochs=10)
