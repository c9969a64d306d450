"""Students: models that are trained on mined sets in seconds or minutes, to compare the sets by what they teach."""

DEFAULT_STUDENT = "static"
"""The student of `hnmine tune` and `hnmine probe`: the only one that trains in seconds. It orders sets otherwise than
the whole model does: docs/tune.md says what it sees and what it does not."""
