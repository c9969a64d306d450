"""One folder a stage: `step.py` says what the stage is; beside it stand the parts that only it has."""
