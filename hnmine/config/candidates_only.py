"""`embed.documents = "candidates"`: what it needs of the other tables."""

from hnmine.config.root import Config
from hnmine.config.sources import SourceConfig


def is_partial(config: Config) -> bool:
    """Tell whether only some documents get a vector by the teacher of [embed]."""
    return config.embed.documents == "candidates"


def is_cheap(source: SourceConfig) -> bool:
    """Tell whether a source can be asked before the teacher of [embed] has made any vector."""
    return source.kind != "dense" or source.teacher is not None


def most_embedded(config: Config, documents: int, queries: int) -> int:
    """Return how many documents the teacher of [embed] embeds at most; labels are not counted.

    Args:
        config: the whole config.
        documents: of the corpus.
        queries: of the run.
    """
    if not is_partial(config):
        return documents
    pairs = zip(config.retrieve.source, config.retrieve.depths, strict=True)
    found = queries * sum(depth for source, depth in pairs if is_cheap(source))
    return min(documents, found + config.embed.sample + config.retrieve.background)
