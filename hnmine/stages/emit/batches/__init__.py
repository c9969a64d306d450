"""Which examples share a training batch: queries that lie near one another, with false negatives kept apart."""
