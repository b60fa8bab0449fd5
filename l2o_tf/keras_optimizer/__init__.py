"""A trained optimizer for `model.compile`: `LearnedOptimizer` (`optimizer`), with a `Guard` if need be (`guard`).

`source` says what it is made of, `memory` what Keras's files have of it; `state_rows` finds the state of each variable.
`registration` lets Keras find the class after `import l2o_tf`.
"""
