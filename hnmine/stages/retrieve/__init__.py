"""Candidates of every query, with the numbers that filters need."""
