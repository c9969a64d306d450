"""Files: the schemas of a run's tables, atomic writes and content keys, paths in object stores, locks."""
