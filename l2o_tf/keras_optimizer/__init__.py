"""A trained optimizer for `model.compile`."""
