"""Negatives of an earlier run, against a new model."""
