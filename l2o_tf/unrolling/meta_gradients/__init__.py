"""Estimators of the meta-gradient of a window."""
