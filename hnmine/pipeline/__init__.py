"""The stages in order: keys, locks, what is skipped and what is run."""
