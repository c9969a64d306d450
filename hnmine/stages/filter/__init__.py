"""The stage filter."""
