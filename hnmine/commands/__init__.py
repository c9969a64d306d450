"""What is done over finished runs or beside them: one module or folder a command."""
