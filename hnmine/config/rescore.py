"""The table `[rescore]`: a cross-encoder that scores each query's best candidates again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hnmine.config.base import Name, Section, setting

if TYPE_CHECKING:
    from hnmine.config import Config


class RescoreConfig(Section):
    """Optional: a cross-encoder that scores each query's best candidates again. Without the table: no such stage."""

    model: Name = setting(
        "cross-encoder/ms-marco-MiniLM-L6-v2",
        'name or local path of a sentence-transformers CrossEncoder; or "hash" (tests only)',
    )
    revision: Name | None = setting(None, "the model's revision on its hub")
    top_n: int = setting(
        50, "candidates of a query that are scored, best by the teacher; positives always are and take no place", ge=1
    )
    max_length: int | None = setting(None, "tokens a pair is cut to (default: the model's own)", ge=8)
    batch_size: int = setting(32, "pairs a batch", no_effect=True, ge=1)
    device: Name | None = setting(None, "cpu, cuda, cuda:1, mps (default: the best there is)", no_effect=True)
    trust_remote_code: bool = setting(False, "let the model's repository run its own Python code")


def check_rescored(config: "Config") -> Iterator[str]:
    """Yield filter settings that need the table [rescore] where there is none, or that contradict it."""
    if config.filter.score == "rescored" and config.rescore is None:
        yield 'filter.score: "rescored" needs a cross-encoder; add a table [rescore] with its model'


def check_rescore_column(config: "Config") -> Iterator[str]:
    """Yield the extra column that needs the table [rescore] where there is none."""
    if config.rescore is None and "rescore_score" in config.emit.extra_columns:
        yield "emit.extra_columns: rescore_score needs a cross-encoder; add a table [rescore] with its model"


def check_enough_rescored(config: "Config") -> Iterator[str]:
    """Yield that fewer candidates are rescored than negatives are wanted of them."""
    if config.rescore is None or config.filter.score != "rescored" or config.emit.fallback != "none":
        return
    if config.emit.retrieved_negatives > config.rescore.top_n:
        yield (
            f"emit.num_negatives: {config.emit.retrieved_negatives} wanted, but only the best "
            f"rescore.top_n = {config.rescore.top_n} candidates are rescored, and no others may be negatives"
        )
