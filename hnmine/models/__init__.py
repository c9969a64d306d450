"""Models that turn texts into vectors or scores, and vectors that the user supplies."""
