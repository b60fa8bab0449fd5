"""How good is an optimizer? Many runs on many problems, and what came of them.

`rollouts` runs one optimizer on one problem, compiled. `comparison.evaluate` does so for every optimizer and every
problem, and returns `results.Results`: a table, a picture, the loss curves, and a folder that further evaluations can
add to. This package uses problems, optimizers and the unroll; it knows nothing of meta-training.
"""
