"""Finding candidates: exact search, other sources, conditions, and what filters need to know of each."""
