"""The config file's tables, as types. Every key, its default and its meaning stand here and nowhere else.

The generated config reference, `hnmine init` and the checks all read these classes. A field marked with
`no_effect` changes how a run is carried out, never what it writes, and so is left out of content keys.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, PrivateAttr

from hnmine.configbase import Name, Paths, Section, setting
from hnmine.configsources import SourceConfig

RuleName = Literal["auto", "none", "absolute", "margin", "percent", "adaptive", "two_sided", "calibrated", "guide"]
TeacherTable = Literal["embed", "guide"]
AnchorName = Literal["each", "min", "mean", "max", "quantile"]
ChoiceName = Literal["top", "random", "simans", "mixed", "diverse"]
FormatName = Literal["triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list", "bge"]
LABELED: tuple[FormatName, ...] = ("labeled-pair", "labeled-list")
ExtraColumn = Literal[
    "query_id",
    "positive_id",
    "negative_id",
    "positive_score",
    "negative_score",
    "rank",
    "rule",
    "anchor_score",
    "source",
    "p_false_negative",
    "weight",
    "positive_weight",
    "guide_score",
]


class Columns(Section):
    """The user's column names, where they differ from the usual ones."""

    doc_id: Name | None = setting(None, "corpus and qrels: the document's id")
    text: Name | None = setting(None, "corpus: the document's text")
    title: Name | None = setting(None, "corpus: the document's title, put before its text")
    query_id: Name | None = setting(None, "queries and qrels: the query's id")
    query: Name | None = setting(None, "queries: the query's text")
    relevance: Name | None = setting(None, "qrels: the judged relevance")
    anchor: Name | None = setting(None, "pairs: the query's text")
    positive: Name | None = setting(None, "pairs: the positive's text, or a list of texts")
    split: Name | None = setting(None, "qrels: the column that `input.split` is looked up in")


class InputConfig(Section):
    """The user's files: `corpus`, `queries` and `qrels`; or a `beir` folder; or `pairs`."""

    corpus: Paths | None = setting(None, "documents: file, folder, glob, URL, or a list of them", no_effect=True)
    queries: Paths | None = setting(None, "queries: likewise", no_effect=True)
    qrels: Paths | None = setting(None, "judgements: a table, or the TREC format", no_effect=True)
    beir: Name | None = setting(None, "a BEIR folder: corpus.jsonl, queries.jsonl, qrels/*.tsv", no_effect=True)
    pairs: Paths | None = setting(None, "one table of (anchor, positive) texts", no_effect=True)
    judgements: Paths | None = setting(None, "files of `hnmine export-judgements`, filled in", no_effect=True)
    judged_positives: bool = setting(False, "judgements that say relevant make a positive to train on")
    split: Name | None = setting(None, "use only this split of the qrels (BEIR: train where there is one)")
    relevant_from: int = setting(1, "lowest relevance that counts as positive")
    unknown_ids: Literal["error", "skip"] = setting("error", "judgements that name an unknown query or document")
    quoting: bool | None = setting(
        None,
        "whether double quotes enclose fields (default: yes in .csv, no in .tsv, as BEIR and MS MARCO write it)",
    )
    columns: Columns = Field(default_factory=Columns, description="column names, only where they differ")


class EmbedConfig(Section):
    """The teacher: which model turns texts into vectors, and how. The table `guide` takes the same keys."""

    model: Name = setting(
        "sentence-transformers/all-MiniLM-L6-v2",
        'name or local path of a sentence-transformers model; "precomputed"; or "hash" (tests only)',
    )
    revision: Name | None = setting(None, "the model's revision on its hub")
    query_prompt: str = setting("", "put before every query")
    document_prompt: str = setting("", "put before every document")
    max_length: int | None = setting(None, "tokens a text is cut to (default: the model's own)", ge=8)
    similarity: Literal["cosine", "dot"] = setting("cosine", "cosine normalises every vector; dot leaves them")
    dtype: Literal["float32", "float16"] = setting("float32", "precision that vectors are stored in")
    corpus_vectors: Paths | None = setting(
        None, "precomputed: Parquet (doc_id, vector), or .npy in corpus order", no_effect=True
    )
    query_vectors: Paths | None = setting(
        None, "precomputed: Parquet (query_id, vector), or .npy in query order", no_effect=True
    )
    batch_size: int = setting(32, "texts a batch", no_effect=True, ge=1)
    device: Name | None = setting(None, "cpu, cuda, cuda:1, mps (default: the best there is)", no_effect=True)
    trust_remote_code: bool = setting(False, "let the model's repository run its own Python code")


class IndexConfig(Section):
    """How the corpus is searched; candidates are always re-scored exactly from the stored vectors."""

    kind: Literal["auto", "flat", "hnsw", "ivf"] = setting("auto", "flat is exact; auto picks by estimated cost")
    hnsw_links: int = setting(32, "hnsw: links a node (M)", ge=4, le=256)
    hnsw_search: int = setting(256, "hnsw: breadth of the search (efSearch)", ge=1)
    ivf_lists: int | None = setting(None, "ivf: number of lists (default: 4 times the root of the corpus)", ge=1)
    ivf_probe: int = setting(32, "ivf: lists looked at for a query", ge=1)


class RetrieveConfig(Section):
    """How many candidates a query gets."""

    top_k: int = setting(100, "candidates a query, its positives not counted", ge=1, le=10_000)
    background: int = setting(256, "random documents that a query's background score is measured on", ge=8)
    fuse: Literal["union", "rrf", "quota"] = setting(
        "union", "several sources: all they find, the best top_k by reciprocal ranks, or the best `quota` of each"
    )
    quota: int | None = setting(None, 'fuse = "quota": candidates that each source gives', ge=1)
    source: list[SourceConfig] = setting([], "where candidates come from (default: the teacher alone)", max_length=16)

    @property
    def depths(self) -> tuple[int, ...]:
        """How many candidates each source gives a query, positives not counted."""
        most = self.quota if self.fuse == "quota" and self.quota else 10_000
        return tuple(min(source.top_k or self.top_k, most) for source in self.source)

    @property
    def most(self) -> int:
        """The largest number of candidates that a query can have, positives not counted."""
        if not self.source:
            return self.top_k
        return min(sum(self.depths), self.top_k) if self.fuse == "rrf" else sum(self.depths)


class FilterConfig(Section):
    """Which candidates may become negatives."""

    rule: RuleName | list[RuleName] = setting("auto", "one rule, or a list that must all keep a candidate")
    percent: float = setting(0.95, "percent: keep s <= s+ - (1 - percent)|s+|", gt=0, le=1)
    margin: float = setting(0.05, "margin: keep s <= s+ - margin", ge=0)
    adaptive: float = setting(
        0.05, "adaptive: keep s <= s+ - adaptive * (s+ - s0), s0 the query's mean score to random documents", ge=0, lt=1
    )
    easiest: float = setting(
        0.0, "margin, percent, adaptive: never reject this share of a query's candidates, the lowest scores", ge=0, le=1
    )
    two_sided: float = setting(0.5, "two_sided: keep z(s) + z(sim) <= two_sided, both within the query's candidates")
    max_false_negative_rate: float | None = setting(
        None,
        "calibrated: measured share of hidden positives to tolerate (default: as hard as a 95% margin)",
        gt=0,
        lt=1,
    )
    probabilities: bool = setting(False, "give every candidate P(false negative), also where no rule asks for it")
    judged_negatives: Literal["judge", "keep"] = setting(
        "judge", "candidates that are judged irrelevant: judge them as any other, or let neither rule nor ranks reject"
    )
    guide_margin: float = setting(0.0, "guide: keep g <= g+ - guide_margin, the scores of the second teacher", ge=0)
    min_score: float | None = setting(None, "absolute: keep s >= min_score")
    max_score: float | None = setting(None, "absolute: keep s <= max_score")
    anchor: AnchorName = setting(
        "each", "the positive's score that margins are measured from; each: one row a positive"
    )
    anchor_quantile: float = setting(0.25, "anchor = quantile: which one", ge=0, le=1)
    ranks: tuple[int, int] | None = setting(None, "keep first <= rank <= last of the retrieval itself", strict=False)
    bad_positive_quantile: float = setting(
        0.5, "a positive that scores below this quantile of its query's candidates is suspected", ge=0, le=1
    )
    max_positive_similarity: float | None = setting(
        0.98, "keep where the cosine to every positive document is at most this", gt=-1, le=1
    )
    max_query_similarity: float | None = setting(0.98, "keep where the cosine to the query is below this", gt=-1, le=1)

    @property
    def gives_probabilities(self) -> bool:
        """Whether every candidate gets P(false negative)."""
        named = [self.rule] if isinstance(self.rule, str) else self.rule
        return self.probabilities or "calibrated" in named or "auto" in named


class EmitConfig(Section):
    """The training files."""

    format: FormatName = setting("triplet", "shape of the training rows")
    num_negatives: int = setting(5, "negatives wanted for each (query, positive)", ge=1)
    choose: ChoiceName = setting("top", "which of the candidates that were kept; mixed adds random documents")
    simans_a: float = setting(
        0.5, "simans: p proportional to exp(-a ((s - s+) / std - b)^2), std of the background", gt=0
    )
    simans_b: float = setting(0.0, "simans: the distance from s+ at which p is highest, in standard deviations")
    random_share: float = setting(0.2, "mixed: share of num_negatives that are random documents", ge=0, le=1)
    diversity: float = setting(0.3, "diverse: weight of being unlike the others chosen; 0 is top", ge=0, le=1)
    fallback: Literal["none", "random"] = setting(
        "none", "random fills up with random documents where too few were kept"
    )
    prefer_judged: bool = setting(False, "choose negatives that are judged irrelevant before any other")
    max_per_document: int | None = setting(None, "most often that one document may serve as a negative", ge=1)
    bad_positives: Literal["keep", "leave_out", "down_weight"] = setting(
        "keep", "suspected positives: rows as any other, no rows, or a lower positive_weight"
    )
    soft_labels: bool = setting(
        False, "labeled-list, labeled-pair: label of a negative is its P(false negative), of a positive 1.0"
    )
    extra_columns: list[ExtraColumn] = setting([], "columns added to every row")

    @property
    def random_negatives(self) -> int:
        """How many of the negatives wanted are random documents from the start: those of `mixed`, rounded."""
        return int(self.random_share * self.num_negatives + 0.5) if self.choose == "mixed" else 0

    @property
    def retrieved_negatives(self) -> int:
        """How many negatives are to be chosen out of the candidates that were kept."""
        return self.num_negatives - self.random_negatives

    @property
    def draws_random(self) -> bool:
        """Whether random documents may serve as negatives."""
        return self.random_negatives > 0 or self.fallback == "random"


class ReportConfig(Section):
    """What the report holds the run to."""

    fail_under: dict[str, float] = setting(
        {}, "exit code 7 where a number of the report is below its limit", no_effect=True, strict=False
    )
    fail_over: dict[str, float] = setting(
        {}, "exit code 7 where a number of the report is above its limit", no_effect=True, strict=False
    )


class Config(Section):
    """A whole config file. Relative paths start at the file's own folder (`base`)."""

    seed: int = setting(0, "seed of every random choice", ge=0, lt=2**63)
    out: Name = setting("runs/first", "the output folder", no_effect=True)
    shard_rows: int = setting(4096, "rows a shard; a multiple of 256", no_effect=True, ge=256, multiple_of=256)
    workers: int = setting(1, "processes that work on shards side by side", no_effect=True, ge=1)
    cache: str = setting("1GB", "vectors kept in memory between blocks, for each worker", no_effect=True)
    input: InputConfig = Field(default_factory=InputConfig, description="the user's files")
    embed: EmbedConfig = Field(default_factory=EmbedConfig, description="the teacher")
    guide: EmbedConfig | None = setting(None, "a second teacher, for the rule guide; the same keys as [embed]")
    index: IndexConfig = Field(default_factory=IndexConfig, description="how the corpus is searched")
    retrieve: RetrieveConfig = Field(default_factory=RetrieveConfig, description="candidates")
    filter: FilterConfig = Field(default_factory=FilterConfig, description="which may be negatives")
    emit: EmitConfig = Field(default_factory=EmitConfig, description="training files")
    report: ReportConfig = Field(default_factory=ReportConfig, description="limits")

    _base: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def base(self) -> Path:
        """Folder that relative paths start at."""
        return self._base

    @property
    def out_folder(self) -> Path:
        """The output folder as an absolute path."""
        return (self._base / self.out).resolve()

    @property
    def teachers(self) -> dict[TeacherTable, EmbedConfig]:
        """The models that give vectors, by their table: embed, and guide where there is one."""
        found: dict[TeacherTable, EmbedConfig] = {"embed": self.embed}
        if self.guide is not None:
            found["guide"] = self.guide
        return found

    @property
    def uses_hash(self) -> bool:
        """Whether a teacher is the hash encoder, which is for tests only."""
        return any(teacher.model == "hash" for teacher in self.teachers.values())

    def at(self, base: Path) -> "Config":
        """Return the same config with relative paths starting at `base`."""
        copy = self.model_copy(update={name: _placed(teacher, base) for name, teacher in self.teachers.items()})
        copy._base = base
        return copy


def _placed(teacher: EmbedConfig, base: Path) -> EmbedConfig:
    """Return the same with a model's relative path starting at `base`."""
    model = teacher.model
    local = base / Path(model).expanduser()
    if model.startswith(("./", "../")) or local.is_dir():
        model = str(local)
    return teacher.model_copy(update={"model": model})


SECTIONS = ("input", "embed", "index", "retrieve", "filter", "emit", "report")
