"""The command plan: what a run would do and what it takes."""
