"""Mined sets side by side, of this tool or another."""
