"""Weights of learned optimizers on disk: written atomically, checked when read, and never a general pickle.

A trained optimizer is a folder with two files::

    weights.npz       name -> array, e.g. "lstm_1/w_gates" [22, 80]; NumPy's own format, no pickle inside
    optimizer.json    the card: architecture, provenance, and what exactly weights.npz holds (shapes, dtypes, SHA-256)

and, where a cell is the user's own, a copy of its code, which is run only if that is allowed (`code`).

The names are those of the original program, so its released weights need no translation, only an importer that reads
its pickles as data::

    python -m l2o_tf.saving import dm_cl/cw.l2l-0 --optimizer=L2O-DM --output=weights/dm_cl

`weights` writes and reads such folders, `original` imports (L2O-Scale by `tensorflow1`), `interpolation` makes what is
between two of them, `adjusting` makes updates shorter or drift-free, `provenance` says by which program they were made.
"""

from l2o_tf.saving.original import import_original
from l2o_tf.saving.provenance import provenance, sources
from l2o_tf.saving.weights import (
    CARD,
    WEIGHTS,
    assign_weights,
    check_shapes,
    load_weights,
    named_weights,
    save_weights,
    write_atomically,
)

__all__ = [
    "CARD",
    "WEIGHTS",
    "assign_weights",
    "check_shapes",
    "import_original",
    "load_weights",
    "named_weights",
    "provenance",
    "save_weights",
    "sources",
    "write_atomically",
]
