"""Negatives of a previous run: scored and judged with the new model, and kept or replaced."""
