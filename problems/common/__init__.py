"""Helpers that know no problem: lazy names, files of the user's own and their errors, a quiet start of TensorFlow."""
