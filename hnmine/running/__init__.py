"""Running stages: in which order, where, with which keys and within which memory."""
