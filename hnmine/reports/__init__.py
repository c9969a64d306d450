"""What is said of a run: its numbers, their intervals, examples, limits."""
