"""The whole config file: its top-level settings and its tables."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import PrivateAttr

from hnmine.config.section import Name, Section, setting, table
from hnmine.config.tables import (
    EmbedConfig,
    EmitConfig,
    FilterConfig,
    IndexConfig,
    InputConfig,
    PreviousConfig,
    ReportConfig,
    RescoreConfig,
    RetrieveConfig,
    TeacherTable,
    teacher_table,
)
from hnmine.storage.paths import path_of

Model = TypeVar("Model", EmbedConfig, RescoreConfig)


class Config(Section):
    """A config file. Relative paths start at the file's own folder (`base`)."""

    seed: int = setting(0, "seed of every random choice", ge=0, lt=2**63)
    out: Name = setting("runs/first", "output folder, or a URL such as s3://bucket/run", no_effect=True)
    shard_rows: int = setting(4096, "rows per shard, a multiple of 256", no_effect=True, ge=256, multiple_of=256)
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
    input: InputConfig = table(InputConfig, "the user's files: corpus, queries and qrels; or a BEIR folder; or pairs")
    embed: EmbedConfig = table(EmbedConfig, "the teacher: the model that turns texts into vectors")
    guide: EmbedConfig | None = setting(None, "a second teacher, for the rule guide")
    index: IndexConfig = table(
        IndexConfig, "how the corpus is searched; candidates always get exact scores from the stored vectors"
    )
    retrieve: RetrieveConfig = table(RetrieveConfig, "how many candidates a query gets, and from where")
    rescore: RescoreConfig | None = setting(None, "a cross-encoder that scores each query's best candidates again")
    filter: FilterConfig = table(
        FilterConfig,
        "rules that decide which candidates may become negatives; s: a candidate's score, s+: a positive's",
    )
    emit: EmitConfig = table(EmitConfig, "the training files: which negatives are chosen, and how rows look")
    previous: PreviousConfig | None = setting(
        None, "an earlier run over the same queries, to mine again with another checkpoint of the model"
    )
    report: ReportConfig = table(ReportConfig, "the report's page and its limits")

    _base: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def base(self) -> Path:
        """The folder that relative paths start at."""
        return self._base

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
    def model_gpus(self) -> float:
        """GPUs per task that runs a model."""
        if self.task_gpus is not None:
            return self.task_gpus
        return float(any(device.startswith("cuda") for device in self.devices.values()))

    @property
    def devices(self) -> dict[str, str]:
        """The devices that the config names, by the table of their model."""
        found: dict[str, str | None] = {table: teacher.device for table, teacher in self.teachers.items()}
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
        """Return the largest number of documents that the teacher of [embed] may embed; positives are not counted.

        Args:
            documents: number of documents in the corpus.
            queries: number of queries.
        """
        if not self.embeds_candidates_only:
            return documents
        pairs = zip(self.retrieve.source, self.retrieve.depths, strict=True)
        found = queries * sum(depth for source, depth in pairs if source.precedes_embed)
        return min(documents, found + self.embed.sample + self.retrieve.background)

    def at(self, base: Path) -> "Config":
        """Return the same config with relative paths starting at `base`."""
        update: dict[str, Any] = {
            name: _at(model, base) for name in ("embed", "guide", "rescore") if (model := getattr(self, name))
        }
        sources = [
            source.model_copy(update={"teacher": _at(source.teacher, base)}) if source.teacher else source
            for source in self.retrieve.source
        ]
        update["retrieve"] = self.retrieve.model_copy(update={"source": sources})
        copy = self.model_copy(update=update)
        copy._base = base
        return copy


def _at(table: Model, base: Path) -> Model:
    """Return a table with the relative path of its model, if it is one, starting at `base`."""
    local = base / Path(table.model).expanduser()
    if table.model.startswith(("./", "../")) or local.is_dir():
        return table.model_copy(update={"model": str(local)})
    return table
