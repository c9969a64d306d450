"""Tables of the config file about candidates: the index, the sources, conditions on documents, how many are kept."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from hnmine.config.models import EmbedConfig, SparseConfig, TeacherTable
from hnmine.config.section import Name, Paths, Section, setting

Language = Literal[
    "none", "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian",
    "spanish", "swedish", "turkish",
]  # fmt: skip
SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=60)]
RESERVED_SOURCES = ("retrieved", "random")
"""Values of the extra column `source` that are not names of sources."""
KIND_SETTINGS: dict[str, tuple[str, ...]] = {
    "dense": ("teacher",), "bm25": ("language", "stem", "k1", "b"), "sparse": ("encoder",), "run": ("path",),
}  # fmt: skip
"""The settings that only one kind of source has."""
MAX_SOURCES = 16
MAX_SPLITS = 512
MAX_DEPTH = 10_000
"""Highest number of candidates that a query may ask for."""


class IndexConfig(Section):
    """`[index]`: how the corpus is searched."""

    kind: Literal["auto", "flat", "hnsw", "ivf"] = setting(
        "auto", "flat: exact search; hnsw, ivf: approximate; auto: flat, or ivf if it is cheaper and reaches min_recall"
    )
    device: Name | None = setting(
        None, "GPU for exact search: cuda, cuda:1 (default: the CPU); the candidates are the same", no_effect=True
    )
    product: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", "number format of exact search on a CPU; the candidates are the same", no_effect=True
    )
    splits: int = setting(
        1,
        "number of corpus parts that exact search handles one by one and then merges; the candidates are the same",
        no_effect=True,
        ge=1,
        le=MAX_SPLITS,
    )
    hnsw_links: int = setting(32, "hnsw: links per node (M)", ge=4, le=256)
    hnsw_search: int = setting(256, "hnsw: breadth of the search (efSearch)", ge=1)
    ivf_lists: int | None = setting(None, "ivf: number of lists (default: twice the root of the corpus size)", ge=1)
    ivf_probe: int | None = setting(None, "ivf: lists searched per query (default: as many as min_recall needs)", ge=1)
    min_recall: float = setting(
        0.99, "share of the exact result that the approximate search of auto must find", gt=0, le=1
    )
    recall_sample: int = setting(512, "ivf: number of queries that recall is measured on", ge=1)
    recall_depth: int = setting(100, "ivf: best documents per query that recall is measured on", ge=1, le=MAX_DEPTH)


class SourceConfig(Section):
    """`[[retrieve.source]]`: one source of candidates."""

    kind: Literal["dense", "bm25", "sparse", "run"] = Field(
        description="dense: search by a teacher's vectors; bm25: search by words; sparse: search by a sparse encoder's "
        "weights of terms; run: a file of another retriever"
    )
    name: SourceName | None = setting(None, "name in columns and reports (default: the kind)")
    top_k: int | None = setting(
        None, "candidates per query without positives (default: retrieve.top_k)", ge=1, le=MAX_DEPTH
    )
    language: Language = setting("english", "bm25: language of stop words and stemming; none: neither")
    stem: bool | None = setting(None, "bm25: reduce words to stems (default: true if PyStemmer is installed)")
    k1: float = setting(1.5, "bm25: k1, how quickly repetitions of a word stop counting", ge=0)
    b: float = setting(0.75, "bm25: b, how much long documents are penalised", ge=0, le=1)
    path: Paths | None = setting(
        None, "run: a TREC run file, or a table of query_id, doc_id, score and optionally rank", no_effect=True
    )
    teacher: EmbedConfig | None = setting(
        None, "a teacher of its own, for kind dense (default: the teacher of [embed])"
    )
    encoder: SparseConfig | None = setting(None, "the model, for kind sparse")

    @property
    def label(self) -> str:
        """Name in columns and reports."""
        return self.name or self.kind

    @property
    def precedes_embed(self) -> bool:
        """Whether the source can be searched before the teacher of [embed] has made any vector."""
        return self.kind != "dense" or self.teacher is not None

    def part(self) -> dict[str, Any]:
        """Return what determines the source's candidates, for content keys: the settings that its kind uses.

        Its own model is left out: the key of the stage that runs it covers its vectors.
        """
        unused = {key for kind, keys in KIND_SETTINGS.items() if kind != self.kind for key in keys}
        unused |= {"teacher", "encoder"}
        return {key: value for key, value in self.semantic().items() if key not in unused} | {"name": self.label}


def teacher_table(number: int) -> TeacherTable:
    """Return the path of the teacher's table of a source; sources count from 0."""
    return f"retrieve.source.{number}.teacher"


def encoder_table(number: int) -> str:
    """Return the path of the encoder's table of a source; sources count from 0."""
    return f"retrieve.source.{number}.encoder"


class WhereConfig(Section):
    """`[[retrieve.where]]`: one condition on the documents that may be candidates of a query."""

    field: Name = Field(description="a column of the corpus, or a key in its column metadata")
    must: Literal["match", "differ", "before", "after"] = setting(
        "match",
        "match: have a value in common; differ: have none in common; before, after: be at most or at least as large "
        "(numbers, ISO dates)",
    )
    with_: Literal["query", "positive"] = setting(
        "query", "values compared with: the query's own, or those of its labelled positives", alias="with"
    )
    query_field: Name | None = setting(None, "column of the queries (default: that of the corpus)")
    missing: Literal["allow", "forbid"] | None = setting(
        None, "result if either side has no value (default: allow for differ, forbid for the others)"
    )

    @property
    def allows_missing(self) -> bool:
        """Whether the condition holds if the document or the query has no value."""
        return self.missing == "allow" if self.missing else self.must == "differ"

    @property
    def query_column(self) -> str | None:
        """The column of the queries that is compared; None if it is the positives' values."""
        return (self.query_field or self.field) if self.with_ == "query" else None

    @property
    def label(self) -> str:
        """The condition in words, for messages."""
        return f"{self.field} {self.must} {self.with_}"

    def part(self) -> dict[str, Any]:
        """Return the condition with its defaults filled in, for content keys."""
        return {"field": self.field, "must": self.must, "query": self.query_column, "missing": self.allows_missing}


class RetrieveConfig(Section):
    """`[retrieve]`: how many candidates a query gets, and from where."""

    top_k: int = setting(100, "candidates per query without positives", ge=1, le=MAX_DEPTH)
    max_top_k: int = setting(
        1000,
        "where filter keeps too few of a query's top_k and rejects others as likely positives, it searches again, "
        "twice as deep each time, up to this many candidates; top_k or less: never",
        ge=1,
        le=MAX_DEPTH,
    )
    background: int = setting(256, "number of random documents that a query's background score is measured on", ge=8)
    fuse: Literal["union", "rrf", "quota"] = setting(
        "union",
        "candidates of several sources. union: all; rrf: the best top_k by reciprocal rank fusion; quota: the best "
        "quota of each",
    )
    quota: int | None = setting(None, 'fuse = "quota": candidates from each source', ge=1)
    source: list[SourceConfig] = setting(
        [],
        "a source of candidates; repeat the table for more (default: the teacher of [embed] alone)",
        max_length=MAX_SOURCES,
    )
    where: list[WhereConfig] = setting([], "a condition that every candidate must meet; repeat the table for more")

    @property
    def depths(self) -> tuple[int, ...]:
        """Candidates per query from each source, positives not counted."""
        most = self.quota if self.fuse == "quota" and self.quota else MAX_DEPTH
        return tuple(min(source.top_k or self.top_k, most) for source in self.source)

    @property
    def max_candidates(self) -> int:
        """The largest number of candidates that a query can have, positives not counted."""
        if not self.source:
            return self.top_k
        return min(sum(self.depths), self.top_k) if self.fuse == "rrf" else sum(self.depths)
