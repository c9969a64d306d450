"""Students: models that are trained on mined sets in seconds or minutes, to compare the sets by what they teach."""

DEFAULT_STUDENT = "static"
"""The student of `hnmine tune` and `hnmine probe`: the only one that is fast enough for a whole grid on any machine.
docs/tune.md says how far its order is that of the whole model."""
