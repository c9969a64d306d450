"""The stage index."""
