"""The pipeline: the stages in order, their keys, and running those that are not done."""
