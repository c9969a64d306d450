"""The config file and its tables: every setting with its type, default and meaning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PrivateAttr, model_validator

from hnmine.config.emit import EmitConfig, resolve_choice
from hnmine.config.filter import FilterConfig
from hnmine.config.models import EmbedConfig, JudgeConfig, ModelTable, RescoreConfig, SparseConfig, TeacherTable, placed
from hnmine.config.retrieve import IndexConfig, RetrieveConfig, encoder_table, teacher_table
from hnmine.config.section import Name, Paths, Section, setting
from hnmine.storage.paths import path_of


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


class Config(Section):
    """A config file. Relative paths start at the file's own folder (`base`)."""

    seed: int = setting(0, "seed of every random choice", ge=0, lt=2**63)
    out: Name = setting("runs/first", "output folder, or a URL such as s3://bucket/run", no_effect=True)
    shard_rows: int = setting(
        4096,
        "rows per shard, a multiple of 256; candidates of many positives get fewer",
        no_effect=True,
        ge=256,
        le=2**30,
        multiple_of=256,
    )
    workers: int = setting(1, "number of processes that work on shards in parallel", no_effect=True, ge=1, le=2**16)
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
            # frozen for all but its own validation
            object.__setattr__(self, "emit", resolve_choice(self.filter, self.emit))
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
            update["emit"] = resolve_choice(update.get("filter", self.filter), emit)
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
            name: placed(model, base) for name in ("embed", "guide", "rescore") if (model := getattr(self, name))
        }
        sources = [
            source.model_copy(
                update={name: placed(one, base) for name in ("teacher", "encoder") if (one := getattr(source, name))}
            )
            for source in self.retrieve.source
        ]
        update["retrieve"] = self.retrieve.model_copy(update={"source": sources})
        copy = self.model_copy(update=update)
        copy._base, copy._file = base, file
        return copy
