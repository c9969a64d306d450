"""`embed.documents = "candidates"`: what it needs of the other tables."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hnmine.config.sources import SourceConfig
from hnmine.config.teacher import CHOICE

if TYPE_CHECKING:
    from hnmine.config import Config


def is_partial(config: "Config") -> bool:
    """Tell whether only some documents get a vector by the teacher of [embed]."""
    return config.embed.documents == "candidates"


def is_cheap(source: SourceConfig) -> bool:
    """Tell whether a source can be asked before the teacher of [embed] has made any vector."""
    return source.kind != "dense" or source.teacher is not None


def most_embedded(config: "Config", documents: int, queries: int) -> int:
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


def check_partial(config: "Config") -> Iterator[str]:
    """Yield what is wrong with the choice of documents that are embedded."""
    for table, teacher in config.teachers.items():
        given = [name for name in CHOICE if name in teacher.model_fields_set and table != "embed"]
        if given:
            yield f"{table}.{given[0]}: only [embed] has it: the guide and the teachers of sources embed all documents"
    if is_partial(config) and not any(map(is_cheap, config.retrieve.source)):
        yield (
            'embed.documents: "candidates" embeds what other sources find, and there is none; add for example '
            '[[retrieve.source]] with kind = "bm25"'
        )
    if is_partial(config) and config.previous is not None:
        yield (
            'embed.documents: "candidates" makes no vectors of the negatives that [previous] scores again; '
            'set embed.documents = "all"'
        )
