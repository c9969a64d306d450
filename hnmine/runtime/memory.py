"""What a worker may keep of vectors in memory, out of the memory that the config gives the run."""

from hnmine.config import Config
from hnmine.config.sizes import parse_size

# Python with numpy, pyarrow, scikit-learn and faiss loaded; a small model with torch on top.
BASE_BYTES, MODEL_BYTES = 350_000_000, 900_000_000
# Torch, where a search loads it for its products.
TORCH_BYTES = 250_000_000
# What a search or a report holds besides kept vectors: blocks that stream by, scores, the candidates of a block.
WORKING_BYTES = 350_000_000
# Threads that choose negatives, each of a shard of queries, which takes its memory.
CHOOSING_THREADS = 4


def kept_texts(config: Config) -> int:
    """Return how many bytes of the documents' texts emit may keep between its shards of queries."""
    return cache_bytes(config) // 4


def cache_bytes(config: Config) -> int:
    """Return how many bytes of vectors a worker may keep: its share of the memory, less what it takes in any case."""
    return max(0, parse_size(config.memory) // config.workers - BASE_BYTES - WORKING_BYTES)
