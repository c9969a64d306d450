"""hnmine: mine hard negatives for training embedding models and rerankers.

Use it from the command line (`hnmine run CONFIG.toml`) or from Python:

    from hnmine import load_config, run
    summary = run(load_config("hnmine.toml"))

`row_batches` turns the column `batch_id` into a trainer's batches. Importing this package imports neither torch nor
faiss.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hnmine.config.file import load_config
    from hnmine.config.tables import Config
    from hnmine.errors import HnmineError
    from hnmine.pipeline.run import run
    from hnmine.stages.emit.batches.sampler import row_batches

__all__ = ["Config", "HnmineError", "__version__", "load_config", "row_batches", "run"]

_HOME = {
    "Config": "hnmine.config.tables",
    "HnmineError": "hnmine.errors",
    "load_config": "hnmine.config.file",
    "row_batches": "hnmine.stages.emit.batches.sampler",
    "run": "hnmine.pipeline.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import hnmine` is fast."""
    if name not in _HOME:
        raise AttributeError(f"module 'hnmine' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
