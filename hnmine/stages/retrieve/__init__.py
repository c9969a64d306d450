"""The stage retrieve."""
