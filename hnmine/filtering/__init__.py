"""Telling false negatives: rules, the fitted probability, and what both let through."""
