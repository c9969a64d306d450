"""What turns texts into vectors and scores: models, and vectors that the user brings."""
