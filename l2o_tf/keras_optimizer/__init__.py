"""A trained optimizer for `model.compile`: `LearnedOptimizer` (`optimizer`), with a `Guard` if need be (`guard`).

`source` says what it is made of, `stored` what Keras's files have of it; `variable_memory` and `state_rows` find the
state of each variable again. `registration` lets Keras find the class after `import l2o_tf`. All of it uses `saving`
and `optimizers`; nothing else in the package uses it.
"""
