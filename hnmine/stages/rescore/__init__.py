"""rescore: scores of a cross-encoder for each query's best candidates."""
