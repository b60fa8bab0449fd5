"""Figures: what an evaluation, a validation and a whole meta-training look like.

Every function takes plain arrays or records and returns a `matplotlib.figure.Figure`; nothing is shown, no state of
`pyplot` is touched, and the Agg canvas needs no display. `save` writes a figure.

Losses are drawn as natural logarithms, as in the paper's figures, and as the same statistic that the tables print
(`summary`): the logarithm is taken of a trailing mean for every run, then runs are averaged. Lines are labelled
where they end instead of in a legend. The colours are those of Okabe and Ito, which stay distinct for colour-blind
readers; line styles repeat the distinction once the colours are used up.
"""

from l2o_tf.plots.evaluation import Panel, evaluation_figure
from l2o_tf.plots.study import SeedPanel, Seeds, study_figure
from l2o_tf.plots.style import save
from l2o_tf.plots.training import training_figure
from l2o_tf.plots.validation import validation_figure

__all__ = [
    "Panel",
    "SeedPanel",
    "Seeds",
    "evaluation_figure",
    "save",
    "study_figure",
    "training_figure",
    "validation_figure",
]
