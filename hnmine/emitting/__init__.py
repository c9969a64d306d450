"""Choosing negatives, writing them as training rows, and what training makes of them."""
