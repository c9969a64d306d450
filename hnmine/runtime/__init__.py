"""Running work: what a stage is, engines that map over shards, threads, progress and memory."""
