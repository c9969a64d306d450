"""Memory budget of a worker: how many bytes it may spend on caches, and what it needs in any case."""

from hnmine.config import Config
from hnmine.display import parse_size

BASE_BYTES = 350_000_000
"""Python with numpy, pyarrow, scikit-learn and faiss."""
MODEL_BYTES = 900_000_000
"""A small model, with torch."""
TORCH_BYTES = 250_000_000
"""Torch alone, if a search uses it for its products."""
WORKING_BYTES = 350_000_000
"""A search or report without its caches: the current blocks of vectors, scores and candidates."""
CHOOSING_THREADS = 4
"""Threads that choose negatives; each holds a shard of queries."""


def kept_texts(config: Config) -> int:
    """Return how many bytes of documents' texts the stage emit may keep from one shard of queries to the next."""
    return cache_bytes(config) // 4


def cache_bytes(config: Config) -> int:
    """Return how many bytes of vectors a worker may keep: its share of `memory` minus what it needs in any case."""
    return max(0, parse_size(config.memory) // config.workers - BASE_BYTES - WORKING_BYTES)
