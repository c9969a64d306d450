"""How work is run: the contract of a stage, engines, threads, memory."""
