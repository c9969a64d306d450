"""The stages, one folder each: `step.py` is the stage itself, the other modules are parts that only it has."""
