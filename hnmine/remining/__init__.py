"""Mining again: an earlier run's negatives against a new model."""
