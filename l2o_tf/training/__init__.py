"""Meta-training: `meta_training.MetaTrainer`, and the objects that it is made of.

`lessons` say what a student learns from, `curriculum` how long its runs are, `windows` how they are cut, `validation`
how it is judged, `meta_optimizers` how its meta-parameters move; `arguments` holds them together. `meta_epoch` is one
run, compiled, `lesson_plan` says which is next, and `trainer` is the loop around them. `state` is where a training
stands, `run_folder` and `reporting` what it leaves in a folder.

Uses everything below: problems, optimizers, unrolling, evaluating, saving, recording, plots. Knows no flag. Others need
`MetaTrainer` and `lessons.lesson.Technique`.
"""
