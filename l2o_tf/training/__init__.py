"""Meta-training: `trainer.MetaTrainer`, and the objects that it is made of.

`lessons` say what a student learns from, `curriculum` how long its runs are, `windows` how they are cut, `validation`
how it is judged, `schedules`, `meta_optimizers` and `averaging` how its meta-parameters move. `meta_epoch` is one run,
compiled. `state` is where a training stands, `run_folder` and `reporting` what it leaves in a folder.

Uses everything below: problems, optimizers, unrolling, evaluating, saving, recording, plots. Knows no flag. Others need
`MetaTrainer` and `lessons.lesson.Technique`.
"""
