"""The stage emit."""
