"""The config file and its tables: every setting with its type, default and meaning."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PrivateAttr, StringConstraints, model_validator

from hnmine.config.section import Name, Paths, Section, setting
from hnmine.config.served import ServedModel, ServedTexts, is_served
from hnmine.storage.paths import path_of

NEAR_COPY = 0.98
"""Cosine above which a document is a near copy: the filter's default limit, and a fault in an audit."""
Kind = Literal["query", "document"]
COMPARED = ("bfloat16", "int8")
"""Precisions whose vectors are compared with those of float32."""
WITHOUT_MODEL = ("hash", "precomputed", "command")
"""Values of `model` in [embed] that name no model to load; "command" is what `model` becomes where `command` is set."""
TeacherTable = str
"""Dotted path of a teacher's table: `embed`, `guide` or `retrieve.source.0.teacher`."""
RuleName = Literal[
    "auto", "none", "absolute", "margin", "percent", "adaptive", "two_sided", "calibrated", "guide", "multi_similarity",
]  # fmt: skip
AnchorName = Literal["each", "min", "mean", "max", "quantile"]
OrderName = Literal["by_query", "easy_to_hard", "hard_to_easy"]
ChoiceName = Literal["auto", "top", "random", "simans", "stratified", "mixed", "diverse"]
AUTO_RANDOM_SHARE = 0.4
"""Share of random documents under `emit.choose = "auto"`, where that means `mixed`: see docs/mining.md."""
RelabelName = Literal["judgements"]
TemplateName = Literal["better-or-worse", "answers", "grades"]
MAX_ASKED = 26
"""Most candidates of one request to a judge: each has a letter."""
FormatName = Literal["triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list", "bge", "distillation"]
ExtraColumn = Literal[
    "query_id", "positive_id", "negative_id", "positive_score", "negative_score", "rank", "rule", "anchor_score",
    "source", "p_false_negative", "weight", "positive_weight", "guide_score", "rescore_score", "positive_source",
    "positive_probability", "focal_weight", "cluster_weight",
]  # fmt: skip
Language = Literal[
    "none", "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian",
    "spanish", "swedish", "turkish",
]  # fmt: skip
SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=60)]

LABELED: tuple[FormatName, ...] = ("labeled-pair", "labeled-list")
SELECTION = ("documents", "sample")
"""The settings of [embed] that say which documents get a vector. The guide and the teachers of sources lack them."""
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

_REVISION = "branch, tag or commit of the model on its hub (default: its main branch)"
_DEVICE = "cpu, cuda, cuda:1, mps or another device of torch (default: a GPU if there is one)"
_TRUST = "allow the model's repository to run its own Python code"


class Columns(Section):
    """`[input.columns]`: names of the columns in the user's files."""

    doc_id: Name | None = setting(None, "corpus and qrels: the document's id")
    text: Name | None = setting(None, "corpus: the document's text")
    title: Name | None = setting(None, "corpus: the document's title, put before its text")
    image: Name | None = setting(
        None,
        "corpus: the document's image, which the model sees in place of its text: bytes, {bytes, path} or a path; "
        "never looked for by a usual name",
    )
    query_id: Name | None = setting(None, "queries and qrels: the query's id")
    query: Name | None = setting(None, "queries: the query's text")
    relevance: Name | None = setting(None, "qrels: the judged relevance")
    anchor: Name | None = setting(None, "pairs: the query's text")
    positive: Name | None = setting(None, "pairs: the positive's text, or a list of texts")
    query_image: Name | None = setting(None, "queries: the query's image, likewise")
    split: Name | None = setting(None, "qrels: the column compared with input.split")


class InputConfig(Section):
    """`[input]`: the user's files."""

    corpus: Paths | None = setting(None, "documents: a file, folder, glob or URL, or a list of them", no_effect=True)
    queries: Paths | None = setting(None, "queries: a file, folder, glob or URL, or a list of them", no_effect=True)
    qrels: Paths | None = setting(None, "relevance judgements: a table, or a file in TREC format", no_effect=True)
    beir: Name | None = setting(
        None, "a BEIR folder, with corpus.jsonl, queries.jsonl and qrels/*.tsv; in place of the three", no_effect=True
    )
    pairs: Paths | None = setting(None, "a table of (anchor, positive) texts; in place of the three", no_effect=True)
    judgements: Paths | None = setting(
        None, "completed files of `hnmine export-judgements`, or files of `hnmine judge`", no_effect=True
    )
    eval_qrels: Paths | None = setting(
        None,
        "qrels of an evaluation set: its queries and the documents relevant to them get into no training row",
        no_effect=True,
    )
    eval_split: Name | None = setting(
        None, "the split of input.eval_qrels to use (default: all); without these, the split of the qrels to keep out"
    )
    judged_positives: bool = setting(False, "use documents judged relevant in input.judgements as positives")
    split: Name | None = setting(None, "the split of the qrels to use (default: all; BEIR: train, or the only one)")
    relevant_from: int = setting(1, "lowest relevance of a positive")
    unknown_ids: Literal["error", "skip"] = setting(
        "error", "judgements of a query or document that is not in the files: stop with an error, or skip them"
    )
    quoting: bool | None = setting(
        None, "whether double quotes enclose fields (default: true for .csv, false for .tsv, as in BEIR and MS MARCO)"
    )
    columns: Columns = setting(Columns(), "column names, only where they differ from the usual")

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys; columns of images only if they are given, as in keys of older runs."""
        kept = super().semantic()
        for name in ("image", "query_image"):
            if kept["columns"][name] is None:
                del kept["columns"][name]
        return kept

    @property
    def has_images(self) -> bool:
        """Whether documents may be images."""
        return self.columns.image is not None

    @property
    def has_query_images(self) -> bool:
        """Whether queries may be images."""
        return self.columns.query_image is not None

    @property
    def uses_images(self) -> bool:
        """Whether documents or queries may be images."""
        return self.has_images or self.has_query_images

    @property
    def has_evaluation(self) -> bool:
        """Whether an evaluation set is kept out of the training rows."""
        return self.eval_qrels is not None or self.eval_split is not None


class EmbedConfig(ServedTexts):
    """`[embed]`, `[guide]` and the `teacher` of a source: the model that turns texts into vectors."""

    model: Name = setting(
        "sentence-transformers/all-MiniLM-L6-v2",
        "name or local path of a sentence-transformers model; http(s)://... for a server with the route /embeddings "
        'of OpenAI; "precomputed" for vectors of your own; "hash" for tests only',
    )
    command: list[Name] | None = setting(
        None,
        "in place of model: a program that encodes, as a list of words: it reads texts as JSON lines on its standard "
        "input and writes their vectors to its standard output; it runs in the folder of the config file, in no shell",
        min_length=1,
    )
    command_version: Name | None = setting(
        None, "command: any text; change it when the program's vectors change and its files do not"
    )
    command_timeout: float = setting(
        600.0, "command: seconds that the program may take for one answer", no_effect=True, gt=0
    )
    revision: Name | None = setting(None, _REVISION)
    query_prompt: str = setting("", "text put before every query")
    document_prompt: str = setting("", "text put before every document")
    max_length: int | None = setting(None, "longest text in tokens; the rest is cut (default: the model's own)", ge=8)
    similarity: Literal["cosine", "dot"] = setting(
        "cosine", "score of a query and a document: cosine normalises the vectors, dot leaves them as they are"
    )
    precision: Literal["float32", "float16", "bfloat16", "int8"] = setting(
        "float32",
        "number format the model computes in: float16 needs a GPU, bfloat16 a GPU or a CPU that multiplies it, "
        "int8 a CPU and OpenVINO",
    )
    dtype: Literal["float32", "float16"] = setting("float32", "number format of the stored vectors")
    corpus_vectors: Paths | None = setting(
        None, 'model = "precomputed": Parquet with doc_id and vector, or .npy in corpus order', no_effect=True
    )
    query_vectors: Paths | None = setting(
        None, 'model = "precomputed": Parquet with query_id and vector, or .npy in query order', no_effect=True
    )
    batch_tokens: int | None = setting(
        None, "tokens per batch, padding included (default: 1,024 on a CPU, 16,384 on a GPU)", no_effect=True, ge=1
    )
    batch_size: int = setting(
        32, "texts per batch, if the model's tokens cannot be counted or command is set", no_effect=True, ge=1
    )
    device: Name | None = setting(None, _DEVICE, no_effect=True)
    encoding_format: Literal["base64", "float"] = setting(
        "base64", 'model = "http...": form of the vectors that is asked for; float: JSON numbers', no_effect=True
    )
    trust_remote_code: bool = setting(False, _TRUST)
    documents: Literal["all", "candidates"] = setting(
        "all",
        "documents that get a vector: all; or those that other sources find, all positives and a random sample; "
        "only in [embed]",
    )
    sample: int = setting(
        1000, 'documents = "candidates": random documents embedded in addition; only in [embed]', ge=0
    )

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @model_validator(mode="after")
    def _name_command(self) -> "EmbedConfig":
        if self.command is not None and "model" not in self.model_fields_set:
            object.__setattr__(self, "model", "command")  # frozen for all but its own validation
        return self

    @property
    def command_folder(self) -> Path:
        """The folder in which the program of `command` runs: that of the config file."""
        return self._folder

    @property
    def label(self) -> str:
        """The model's name for people: its command where it has one."""
        return self.model if self.command is None else f"command {shlex.join(self.command)}"

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys; those of a command only if there is one, as in keys of older runs."""
        kept = super().semantic()
        if self.command is None:
            del kept["command"], kept["command_version"]
        return kept

    @property
    def loads_model(self) -> bool:
        """Whether a model is loaded from files: not where vectors are supplied, hashed or computed by a server."""
        return self.model not in WITHOUT_MODEL and not is_served(self.model)

    def vector_settings(self) -> dict[str, Any]:
        """Return the settings that determine a text's vector, for content keys; not those of `SELECTION`.

        The name of a served model is left out: what identifies it holds the name.
        """
        return {name: value for name, value in self.semantic().items() if name not in (*SELECTION, "served_model")}

    def prompt(self, kind: Kind) -> str:
        """Return the text put before every text of a kind."""
        return self.query_prompt if kind == "query" else self.document_prompt


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


class SparseConfig(Section):
    """The `encoder` of a source of kind sparse: the model that gives texts weights of terms."""

    model: Name = setting(..., "name or local path of a sentence-transformers SparseEncoder, such as SPLADE")
    revision: Name | None = setting(None, _REVISION)
    query_prompt: str = setting("", "text put before every query")
    document_prompt: str = setting("", "text put before every document")
    max_length: int | None = setting(None, "longest text in tokens; the rest is cut (default: the model's own)", ge=8)
    max_active: int | None = setting(
        None, "terms kept of a text, those of the largest weights (default: as many as the model says)", ge=1
    )
    batch_tokens: int | None = setting(
        None, "tokens per batch, padding included (default: 1,024 on a CPU, 4,096 on a GPU)", no_effect=True, ge=1
    )
    batch_size: int = setting(32, "texts per batch, if the model's tokens cannot be counted", no_effect=True, ge=1)
    device: Name | None = setting(None, _DEVICE, no_effect=True)
    trust_remote_code: bool = setting(False, _TRUST)

    def prompt(self, kind: Kind) -> str:
        """Return the text put before every text of a kind."""
        return self.query_prompt if kind == "query" else self.document_prompt


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
        "several sources: all their candidates; the best top_k by reciprocal rank fusion; or the best quota of each",
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


class RescoreConfig(ServedTexts):
    """`[rescore]`: a cross-encoder that scores each query's best candidates again, or a late-interaction model."""

    kind: Literal["cross_encoder", "late_interaction"] = setting(
        "cross_encoder",
        "cross_encoder: reads query and document together; late_interaction: compares vectors of their tokens, as "
        "ColBERT does",
    )
    model: Name = setting(
        "cross-encoder/ms-marco-MiniLM-L6-v2",
        "name or local path of a sentence-transformers CrossEncoder; http(s)://... for a server with the route "
        '/rerank of Cohere, Jina, infinity, vLLM or TEI; "hash" for tests only. '
        "late_interaction: a MultiVectorEncoder, a model by pylate, or a SentenceTransformer",
    )
    revision: Name | None = setting(None, _REVISION)
    spend: Literal["top", "doubtful"] = setting(
        "top",
        "candidates that are scored: the teacher's best top_n of a query; or, for each of its positives, the first "
        '`pairs` that the margins of [filter] keep, for filter.score = "checked"',
    )
    top_n: int = setting(
        50, "top: candidates scored per query, best first; positives are scored too, not counted", ge=1
    )
    pairs: int = setting(10, "doubtful: candidates scored for each (query, positive), at most", ge=1)
    max_length: int | None = setting(
        None,
        "longest pair in tokens, or with late_interaction longest document; the rest is cut (default: the model's own)",
        ge=8,
    )
    batch_size: int = setting(32, "pairs, or with late_interaction texts, per batch", no_effect=True, ge=1)
    device: Name | None = setting(None, _DEVICE, no_effect=True)
    trust_remote_code: bool = setting(False, _TRUST)

    @property
    def loads_model(self) -> bool:
        """Whether a model is loaded from files: not where scores are of shared words or computed by a server."""
        return self.model != "hash" and not is_served(self.model)

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys: those that its way of spending uses, as in keys of older runs.

        `kind` is among them only if it is not the default.
        """
        kept = super().semantic()
        if self.kind == "cross_encoder":
            del kept["kind"]
        if self.spend == "top":
            del kept["spend"], kept["pairs"]
        else:
            del kept["top_n"]
        return kept


class FilterConfig(Section):
    """`[filter]`: the rules that decide which candidates may become negatives."""

    rule: RuleName | list[RuleName] = setting("auto", "a rule, or a list of rules that must all keep a candidate")
    score: Literal["teacher", "rescored", "checked", "hub_normalised"] = setting(
        "teacher",
        "scores used by rules, choice of negatives and report: the teacher's; percentiles of the cross-encoder's; "
        "the teacher's, and then candidates that the cross-encoder scores like positives are rejected too; or the "
        "teacher's, lower for documents that score high for many queries",
    )
    hub_beta: float = setting(
        20.0, "hub_normalised: beta in s - (1 / beta) ln(mean of exp(beta s(q', d)) over the bank of queries q')", gt=0
    )
    hub_queries: int = setting(1000, "hub_normalised: number of queries in the bank, a random sample", ge=1)
    percent: float = setting(0.95, 'percent: keep s <= s+ - (1 - percent)|s+|; rule = "auto" takes 0.95', gt=0, le=1)
    margin: float = setting(0.05, "margin: keep s <= s+ - margin", ge=0)
    adaptive: float = setting(
        0.05, "adaptive: keep s <= s+ - adaptive max(0, s+ - s0), s0: the mean score of random documents", ge=0, lt=1
    )
    easiest: float = setting(
        0.0,
        "margin, percent, adaptive: share of a query's candidates, lowest scores first, that these rules never reject; "
        'rule = "auto" always uses 0.2',
        ge=0,
        le=1,
    )
    two_sided: float = setting(0.5, "two_sided: keep z(s) + z(sim) <= two_sided, sim: highest similarity to a positive")
    max_false_negative_rate: float | None = setting(
        None,
        "calibrated, auto: highest share of hidden positives among the negatives, kept to by the 95% upper bound of "
        "the measured share where there are enough of them (default: half of a 95% margin's share, at most 0.05)",
        gt=0,
        lt=1,
    )
    probabilities: bool = setting(False, "give every candidate P(false negative) even if no rule needs it")
    judged_negatives: Literal["judge", "keep"] = setting(
        "judge", "candidates judged irrelevant: apply the rules as to any other, or exempt them from rules and ranks"
    )
    check_percentile: float = setting(
        0.1,
        'score = "checked": reject what the cross-encoder scores above this share of the labelled positives',
        ge=0,
        le=1,
    )
    guide_margin: float = setting(0.0, "guide: keep g <= g+ - guide_margin, g the scores of the second teacher", ge=0)
    multi_similarity: float = setting(
        0.1,
        "multi_similarity: keep s > the lowest s+ of the query's positives - multi_similarity; rejects easy negatives, "
        "so combine it with a rule that rejects false ones",
        ge=0,
    )
    min_score: float | None = setting(None, "absolute: keep s >= min_score")
    max_score: float | None = setting(None, "absolute: keep s <= max_score")
    anchor: AnchorName = setting(
        "each",
        "the positive score s+ of a query with several positives: each in turn, or one that summarises all of them",
    )
    anchor_quantile: float = setting(0.25, 'anchor = "quantile": the quantile of the positives\' scores', ge=0, le=1)
    ranks: tuple[int, int] | None = setting(
        None, "keep first <= rank <= last, written [first, last]; rank 1 is the highest score", strict=False
    )
    bad_positive_quantile: float = setting(
        0.5,
        "a positive that scores no higher than random documents do (s+ <= s0 + sd), and below this quantile of its "
        "query's candidates, is suspected to be wrong; 0 suspects none",
        ge=0,
        le=1,
    )
    max_positive_similarity: float | None = setting(
        NEAR_COPY, "keep if the cosine to every positive document is at most this", gt=-1, le=1
    )
    max_query_similarity: float | None = setting(
        NEAR_COPY, "keep if the cosine to the query is below this", gt=-1, le=1
    )

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys; newer ones only if they are used, as in keys of older runs."""
        found = super().semantic()
        if self.score == "teacher":
            del found["score"]
        if "multi_similarity" not in self.rules:
            del found["multi_similarity"]
        if self.score != "hub_normalised":
            del found["hub_beta"], found["hub_queries"]
        if self.score != "checked":
            del found["check_percentile"]
        return found

    def chosen(self) -> dict[str, Any]:
        """Return the rule, and the settings that are not at their defaults, as JSON values."""
        plain = type(self)().model_dump(mode="json")
        given = self.model_dump(mode="json").items()
        return {name: value for name, value in given if name == "rule" or value != plain[name]}

    @property
    def rules(self) -> list[RuleName]:
        """The rules as a list."""
        return [self.rule] if isinstance(self.rule, str) else self.rule

    @property
    def gives_probabilities(self) -> bool:
        """Whether every candidate gets P(false negative)."""
        return self.probabilities or not {"calibrated", "auto"}.isdisjoint(self.rules)


class EmitConfig(Section):
    """`[emit]`: the training files."""

    format: FormatName | list[FormatName] = setting(
        "triplet", "shape of the training rows; or a list of shapes, each in a folder of its own"
    )
    num_negatives: int = setting(5, "negatives wanted for each (query, positive)", ge=1)
    choose: ChoiceName = setting(
        "auto",
        'which of the kept candidates become negatives: under filter.rule = "auto" mixed with two fifths random '
        "documents, else top; highest scores; uniform draw; draw near the positive's score; draw from quantiles of the "
        "scores; highest scores and random documents; highest scores that are unlike one another",
    )
    simans_a: float = setting(
        0.5, "simans: a in p ~ exp(-a ((s - s+) / std - b)^2), std that of the query's background scores", gt=0
    )
    simans_b: float = setting(0.0, "simans: b, the distance from s+ at which p is highest, in standard deviations")
    strata: int = setting(
        8, "stratified: number of quantiles that the scores are cut into; at most as many as negatives wanted", ge=2
    )
    ensemble: Literal["none", "cross", "intra"] = setting(
        "none", "several sources: cross draws one source for each (query, positive); intra takes from all in turn"
    )
    random_share: float = setting(0.2, "mixed: share of num_negatives that are random documents", ge=0, le=1)
    diversity: float = setting(
        0.3, "diverse: weight of being unlike the negatives chosen so far; 0 means top", ge=0, le=1
    )
    fallback: Literal["none", "random"] = setting(
        "none", "if too few candidates were kept: leave the example short, or fill it with random documents"
    )
    prefer_judged: bool = setting(False, "choose candidates judged irrelevant before all others")
    max_per_document: int | None = setting(None, "highest number of times one document is used as a negative", ge=1)
    bad_positives: Literal["keep", "leave_out", "down_weight"] = setting(
        "keep", "rows of suspected bad positives: as any other, left out, or with a lower positive_weight"
    )
    relabel: float | RelabelName | list[float | RelabelName] | None = setting(
        None,
        "candidates that become further positives of their query, marked in the column positive_source. A number above "
        '0.5, such as 0.9: those whose P(false negative) is at least this; "judgements": those that input.judgements '
        "call relevant; or a list of both (default: none)",
    )
    max_relabelled: int = setting(
        3, "most further positives of one query: those judged relevant first, then the highest P(false negative)", ge=1
    )
    soft_labels: bool = setting(
        False, "labeled-list, labeled-pair: label a negative with its P(false negative) and a positive with 1.0"
    )
    extra_columns: list[ExtraColumn] = setting([], "columns added to every row: a list")
    mixing: int = setting(
        0,
        "synthetic negatives of each (query, positive): pairs of its negatives whose vectors a training mixes, with "
        "their shares, in the table emit/mixing",
        ge=0,
        le=1000,
    )
    mixing_query: int = setting(0, "as mixing, but pairs of the query and a negative", ge=0, le=1000)
    focal_gamma: float = setting(
        0.5, "focal_weight: gamma in (1 - p)^gamma, p the softmax probability of the positive among its negatives", ge=0
    )
    focal_temperature: float = setting(
        0.05,
        "focal_weight: temperature of that softmax, in units of the score; take your loss's (1 / scale)",
        gt=0,
    )
    clusters: int | None = setting(
        None,
        "cluster_weight: number of clusters of documents, by k-means on their vectors (default: the square root of the "
        "number of documents)",
        ge=1,
    )
    order: OrderName = setting(
        "by_query",
        "order of the training rows: that of the queries, or by the mean hardness of an example's negatives; a trainer "
        "must not shuffle such rows",
    )
    batch_size: int | None = setting(None, "examples per batch; adds the column batch_id (default: no batches)", ge=2)
    batch_by: Literal["clusters", "random"] = setting(
        "clusters", "how examples are grouped: by similarity of their queries, or at random"
    )
    batch_leftover: Literal["keep", "drop", "merge"] = setting(
        "keep",
        "batches that conflicts keep from being filled: stay short; their examples get no rows; or are merged into "
        "full ones with as few conflicts as possible",
    )

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys; newer ones only if they are used, as in keys of older runs."""
        kept = super().semantic()
        if len(self.formats) == 1:
            kept["format"] = self.formats[0]
        if self.ensemble == "none":
            del kept["ensemble"]
        if self.choose != "stratified":
            del kept["strata"]
        if not self.mixes:
            del kept["mixing"], kept["mixing_query"]
        if "focal_weight" not in self.extra_columns:
            del kept["focal_gamma"], kept["focal_temperature"]
        if "cluster_weight" not in self.extra_columns:
            del kept["clusters"]
        if self.order == "by_query":
            del kept["order"]
        if self.batch_size is None:
            del kept["batch_size"], kept["batch_by"], kept["batch_leftover"]
        if self.relabels:
            kept["relabel"] = self.relabel_values
        else:
            del kept["relabel"], kept["max_relabelled"]
        return kept

    @property
    def relabel_values(self) -> list[float | RelabelName]:
        """The values of `relabel` as a list, the probability first; empty where nothing is relabelled."""
        values = self.relabel if isinstance(self.relabel, list) else [] if self.relabel is None else [self.relabel]
        return sorted(values, key=lambda value: isinstance(value, str))

    @property
    def relabels(self) -> bool:
        """Whether some candidates may become further positives."""
        return bool(self.relabel_values)

    @property
    def relabel_probability(self) -> float | None:
        """The lowest P(false negative) of a candidate that becomes a positive; None where none does by its own."""
        return next((value for value in self.relabel_values if not isinstance(value, str)), None)

    @property
    def relabels_judged(self) -> bool:
        """Whether candidates that judgement files call relevant become positives."""
        return "judgements" in self.relabel_values

    @property
    def formats(self) -> list[FormatName]:
        """The shapes of training rows as a list."""
        return [self.format] if isinstance(self.format, str) else self.format

    @property
    def mixes(self) -> bool:
        """Whether there is a table of synthetic negatives."""
        return self.mixing + self.mixing_query > 0

    @property
    def random_negatives(self) -> int:
        """How many of the wanted negatives are random documents by `choose = "mixed"`; rounded half up."""
        return int(self.random_share * self.num_negatives + 0.5) if self.choose == "mixed" else 0

    @property
    def retrieved_negatives(self) -> int:
        """How many of the wanted negatives are chosen from the kept candidates."""
        return self.num_negatives - self.random_negatives

    @property
    def draws_random(self) -> bool:
        """Whether random documents may be used as negatives."""
        return self.random_negatives > 0 or self.fallback == "random"


class PreviousConfig(Section):
    """`[previous]`: an earlier run over the same queries, to mine again with another checkpoint of the model."""

    run: Name = setting(..., "folder or URL of the earlier run, finished at least up to emit", no_effect=True)
    replace: Literal["all", "easy"] = setting(
        "all",
        "all: mine anew and report what changed; easy: keep the earlier negatives, except those that are easy for the "
        "model now and those that the filter now rejects",
    )
    easy_ratio: float = setting(
        1.15, "easy: a negative is easy if its score now, times this, is below its score when it was chosen", ge=1
    )
    easy_below: float = setting(0.8, "easy: an easy negative must also score below this now")

    def part(self) -> dict[str, Any]:
        """Return what determines the files written, for content keys: with `replace = "all"` no other setting does."""
        return self.semantic() if self.replace == "easy" else {"replace": "all"}


class JudgeTable(ServedModel):
    """`[judge]` and `[judge.second]`: a language model that judges candidates."""

    model: Name | None = setting(
        None,
        "address of a server that has /chat/completions as OpenAI's, such as http://localhost:8000/v1",
        no_effect=True,
    )
    served_model: Name | None = setting(
        None, "name of the model in requests (default: the only one that the server lists)", no_effect=True
    )
    template: TemplateName = setting(
        "better-or-worse",
        "what is asked of each candidate: whether it serves the query as well as a labelled positive; the words that "
        "answer the query, or none; or a grade from 1 to 5",
        no_effect=True,
    )
    candidates: int = setting(10, "most candidates in one request", no_effect=True, ge=1, le=MAX_ASKED)
    text_length: int = setting(
        2000, "longest text of a document in a request, in characters; the rest is cut", no_effect=True, ge=100
    )
    answer_tokens: int = setting(
        80,
        "tokens allowed for the answer about one candidate; a model that thinks before it answers needs many more",
        no_effect=True,
        ge=10,
    )
    reply_format: Literal["json_schema", "json_object", "text"] = setting(
        "json_schema",
        "how the server is told to answer in JSON: by a schema, without one, or in the words of the request alone",
        no_effect=True,
    )
    request: dict[str, Any] = setting(
        {},
        'further fields of every request, such as {reasoning_effort = "low"}; temperature is 0 unless given here',
        no_effect=True,
    )


class JudgeConfig(JudgeTable):
    """`[judge]`: a language model that judges candidates, and a second one for what the first calls relevant."""

    second: JudgeTable | None = setting(
        None, "another judge, for `--again`: it is asked about what the first one calls relevant (default: [judge])"
    )

    def table(self, *, again: bool) -> JudgeTable:
        """Return the judge that is asked: with `again` the second one, if there is one."""
        return self.second if again and self.second is not None else self


class ReportConfig(Section):
    """`[report]`: the report's page and its limits."""

    html: bool = setting(True, "write report.html, the report for a browser; its figures take a second or two")
    judged_sample: Paths | None = setting(
        None,
        "completed files of `hnmine export-judgements --sample random`: they give the set's false-negative rate, and "
        "change no training row",
        no_effect=True,
    )
    fail_under: dict[str, float] = setting(
        {},
        "lower limits of the report's numbers, {name = limit}: below one, the exit code is 7",
        no_effect=True,
        strict=False,
    )
    fail_over: dict[str, float] = setting(
        {},
        "upper limits of the report's numbers, {name = limit}: above one, the exit code is 7",
        no_effect=True,
        strict=False,
    )


ModelTable = EmbedConfig | SparseConfig | RescoreConfig
"""A table that names a model."""
ModelT = TypeVar("ModelT", EmbedConfig, SparseConfig, RescoreConfig)


class Config(Section):
    """A config file. Relative paths start at the file's own folder (`base`)."""

    seed: int = setting(0, "seed of every random choice", ge=0, lt=2**63)
    out: Name = setting("runs/first", "output folder, or a URL such as s3://bucket/run", no_effect=True)
    shard_rows: int = setting(
        4096,
        "rows per shard, a multiple of 256; candidates of many positives get fewer",
        no_effect=True,
        ge=256,
        multiple_of=256,
    )
    workers: int = setting(1, "number of processes that work on shards in parallel", no_effect=True, ge=1)
    engine: Literal["auto", "inline", "pool", "ray"] = setting(
        "auto",
        "where shards are processed: inline: in this process; pool: in worker processes; ray: on a Ray cluster; "
        "auto: inline for one worker, else pool",
        no_effect=True,
    )
    ray_address: Name = setting(
        "auto",
        "ray: the cluster: auto (from the environment or this machine), local (one for this run) or host:port",
        no_effect=True,
    )
    ray_wait: float = setting(
        300.0, "ray: seconds to wait for a node with the resources of a task", no_effect=True, ge=0
    )
    task_cpus: float = setting(1.0, "ray: cores per task", no_effect=True, gt=0)
    task_gpus: float | None = setting(
        None,
        "ray: GPUs per task that runs a model (default: 1 if a model's device is cuda, else 0)",
        no_effect=True,
        ge=0,
    )
    memory: str = setting(
        "4GB",
        "memory for the whole run, shared by its workers; vectors that do not fit are read from disk again",
        no_effect=True,
    )
    input: InputConfig = setting(
        InputConfig(), "the user's files: corpus, queries and qrels; or a BEIR folder; or pairs"
    )
    embed: EmbedConfig = setting(EmbedConfig(), "the teacher: the model that turns texts into vectors")
    guide: EmbedConfig | None = setting(None, "a second teacher, for the rule guide")
    index: IndexConfig = setting(
        IndexConfig(), "how the corpus is searched; candidates always get exact scores from the stored vectors"
    )
    retrieve: RetrieveConfig = setting(RetrieveConfig(), "how many candidates a query gets, and from where")
    rescore: RescoreConfig | None = setting(None, "a cross-encoder that scores each query's best candidates again")
    filter: FilterConfig = setting(
        FilterConfig(),
        "rules that decide which candidates may become negatives; s: a candidate's score, s+: a positive's",
    )
    emit: EmitConfig = setting(EmitConfig(), "the training files: which negatives are chosen, and how rows look")
    previous: PreviousConfig | None = setting(
        None, "an earlier run over the same queries, to mine again with another checkpoint of the model"
    )
    report: ReportConfig = setting(ReportConfig(), "the report's page and its limits")
    judge: JudgeConfig = setting(
        JudgeConfig(), "the language model of `hnmine judge` and `hnmine export-judgements --format openai-batch`"
    )

    _base: Path = PrivateAttr(default_factory=Path.cwd)
    _file: str = PrivateAttr("")
    _chooses_by_rule: bool = PrivateAttr(False)
    _overrides_random_share: bool = PrivateAttr(False)

    @model_validator(mode="after")
    def _resolve_choice(self) -> "Config":
        if self.emit.choose == "auto":
            self._chooses_by_rule = True
            self._overrides_random_share = "random_share" in self.emit.model_fields_set
            object.__setattr__(self, "emit", _choice(self.filter, self.emit))  # frozen for all but its own validation
        return self

    @property
    def overrides_random_share(self) -> bool:
        """Whether `emit.random_share` is given, and `emit.choose = "auto"` takes a share of its own."""
        return self._overrides_random_share and self.emit.choose == "mixed"

    def changed(self, tables: Mapping[str, Mapping[str, Any]]) -> "Config":
        """Return the config with other settings in some tables, unchecked.

        Where `emit.choose` is "auto", or was and is not changed, the changed rule and number of negatives decide on it.
        """
        update = {table: getattr(self, table).model_copy(update=own) for table, own in tables.items()}
        emit = update.get("emit", self.emit)
        if emit.choose == "auto" or (self._chooses_by_rule and "choose" not in tables.get("emit", {})):
            update["emit"] = _choice(update.get("filter", self.filter), emit)
        return self.model_copy(update=update)

    @property
    def base(self) -> Path:
        """The folder that relative paths start at."""
        return self._base

    @property
    def file(self) -> str:
        """The config file's name, as the user gave it; empty for a config that was not read from a file."""
        return self._file

    @property
    def out_folder(self) -> Path:
        """The output folder as an absolute path."""
        return path_of(self.out, self._base).resolve()

    @property
    def previous_folder(self) -> Path | None:
        """The earlier run's folder as an absolute path; None without [previous]."""
        return path_of(self.previous.run, self._base).resolve() if self.previous is not None else None

    @property
    def teachers(self) -> dict[TeacherTable, EmbedConfig]:
        """The models that make vectors, by their table: embed, the guide if there is one, and those of sources."""
        found: dict[TeacherTable, EmbedConfig] = {"embed": self.embed}
        if self.guide is not None:
            found["guide"] = self.guide
        for number, source in enumerate(self.retrieve.source):
            if source.teacher is not None:
                found[teacher_table(number)] = source.teacher
        return found

    @property
    def encoders(self) -> dict[str, SparseConfig]:
        """The models of sources of kind sparse, by their table."""
        sources = enumerate(self.retrieve.source)
        return {encoder_table(number): source.encoder for number, source in sources if source.encoder is not None}

    @property
    def model_gpus(self) -> float:
        """GPUs per task that runs a model."""
        if self.task_gpus is not None:
            return self.task_gpus
        return float(any(device.startswith("cuda") for device in self.devices.values()))

    @property
    def devices(self) -> dict[str, str]:
        """The devices that the config names, by the table of their model."""
        models: dict[str, ModelTable] = {**self.teachers, **self.encoders}
        found = {table: model.device for table, model in models.items()}
        if self.rescore is not None:
            found["rescore"] = self.rescore.device
        return {table: device for table, device in found.items() if device}

    @property
    def uses_hash(self) -> bool:
        """Whether a teacher is the hash encoder, which is meant for tests."""
        return any(teacher.model == "hash" for teacher in self.teachers.values())

    @property
    def embeds_candidates_only(self) -> bool:
        """Whether only some documents get a vector by the teacher of [embed]."""
        return self.embed.documents == "candidates"

    def max_embedded(self, documents: int, queries: int) -> int:
        """Return the highest number of documents that [embed] may give a vector; positives are not counted."""
        if not self.embeds_candidates_only:
            return documents
        pairs = zip(self.retrieve.source, self.retrieve.depths, strict=True)
        found = queries * sum(depth for source, depth in pairs if source.precedes_embed)
        return min(documents, found + self.embed.sample + self.retrieve.background)

    def at(self, base: Path, file: str = "") -> "Config":
        """Return the same config, read from a file of that name, with relative paths starting at `base`."""
        update: dict[str, Any] = {
            name: _placed(model, base) for name in ("embed", "guide", "rescore") if (model := getattr(self, name))
        }
        sources = [
            source.model_copy(
                update={name: _placed(one, base) for name in ("teacher", "encoder") if (one := getattr(source, name))}
            )
            for source in self.retrieve.source
        ]
        update["retrieve"] = self.retrieve.model_copy(update={"source": sources})
        copy = self.model_copy(update=update)
        copy._base, copy._file = base, file
        return copy


def _choice(filter_: FilterConfig, emit: EmitConfig) -> EmitConfig:
    """Return [emit] with the way of choosing that `choose = "auto"` means.

    It means `mixed` under the rule auto. It means `top` under other rules; with a cross-encoder's scores, which random
    documents lack; and where the random share of so few negatives rounds to none or to all.
    """
    mixed = emit.model_copy(update={"choose": "mixed", "random_share": AUTO_RANDOM_SHARE})
    mixes = filter_.rule == "auto" and filter_.score != "rescored"
    if mixes and 0 < mixed.random_negatives < emit.num_negatives:
        return mixed
    return emit.model_copy(update={"choose": "top"})


def _placed(table: ModelT, base: Path) -> ModelT:
    """Return a table with the relative path of its model or command, if it is one, starting at `base`."""
    if isinstance(table, EmbedConfig) and table.command is not None:
        placed = table.model_copy()
        placed._folder = base
        return placed
    local = base / Path(table.model).expanduser()
    if table.model.startswith(("./", "../")) or local.is_dir():
        return table.model_copy(update={"model": str(local)})
    return table
