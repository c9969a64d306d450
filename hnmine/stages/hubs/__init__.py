"""Scores of candidates less what makes a document a hub: `filter.score = "hub_normalised"`."""
