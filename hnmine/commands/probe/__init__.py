"""`hnmine probe`: what students gain from a run's mined set, and from another one in its place."""
