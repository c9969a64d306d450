"""Vectors of every document and query, by each teacher."""
