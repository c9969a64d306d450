"""Finding documents by vector or by word."""
