"""Weights of learned optimizers on disk: written atomically, checked when read, and never a general pickle.

A trained optimizer is a folder with two files::

    weights.npz       name -> array, e.g. "lstm_1/w_gates" [22, 80]; NumPy's own format, no pickle inside
    optimizer.json    the card: architecture, provenance, and what exactly weights.npz holds (shapes, dtypes, SHA-256)

and, where a rule is the user's own, a copy of its code, which is run only if that is allowed (`code`).

Names are those of the original program, whose released weights need an importer only (`original`; L2O-Scale:
`tensorflow1`). `weights` writes and reads such folders, and `loading` makes optimizers of them. `derived` makes new
ones of what is there: `python -m l2o_tf.cli.weights`.
"""

from l2o_tf.saving.provenance import provenance as provenance
from problems.common.lazy import exports

WEIGHTS = "weights.npz"
CARD = "optimizer.json"
RUN = "config.json"
"""What the folder of a meta-training has from its first moment on."""

_WEIGHTS = ("assign_weights", "load_weights", "named_weights", "save", "save_weights")

__getattr__, __dir__ = exports(
    __name__,
    {"import_original": "l2o_tf.saving.original:import_original"}
    | {name: f"l2o_tf.saving.weights:{name}" for name in _WEIGHTS},
)
