"""The schemas of all tables that a run writes, one module for each stage."""
