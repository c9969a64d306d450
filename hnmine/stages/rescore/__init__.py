"""The stage rescore."""
