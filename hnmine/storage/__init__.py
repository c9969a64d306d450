"""Files of a run: the data contract, writing whole or not at all, reading by rows."""
