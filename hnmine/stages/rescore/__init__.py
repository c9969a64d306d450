"""Scores of a cross-encoder for each query's best candidates."""
