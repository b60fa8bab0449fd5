"""The techniques that teach an optimizer: which trajectory the student sees, and what it is judged by.

`lesson` has the two interfaces, `Technique` and `Lesson`. `own_trajectory` is the ordinary technique; `imitation`,
`self_improving` and `kept_states` change it. They use `l2o_tf.unrolling` and lower packages.
"""
