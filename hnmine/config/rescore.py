"""The table `[rescore]`: a cross-encoder that scores each query's best candidates again."""

from hnmine.config.base import Name, Section, setting


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
