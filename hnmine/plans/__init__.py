"""What a run takes: memory, bytes, tasks and hours, in formulas, and what of it breaks first."""
