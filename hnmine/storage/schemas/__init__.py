"""The data contract: the schema of every table, one module a stage."""
