"""The whole config file: its tables, and the settings that stand above them."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, PrivateAttr

from hnmine.config.base import Name, Section, setting
from hnmine.config.emit import EmitConfig
from hnmine.config.filter import FilterConfig
from hnmine.config.input import InputConfig
from hnmine.config.previous import PreviousConfig
from hnmine.config.rescore import RescoreConfig
from hnmine.config.retrieve import IndexConfig, RetrieveConfig
from hnmine.config.sources import SourceConfig, teacher_table
from hnmine.config.teacher import EmbedConfig, TeacherTable
from hnmine.storage.paths import path_of

Model = TypeVar("Model", EmbedConfig, RescoreConfig)


class ReportConfig(Section):
    """What the report holds the run to, and whether it has a page."""

    html: bool = setting(True, "write report.html, the report for a browser; its figures take a second or two")
    fail_under: dict[str, float] = setting(
        {}, "exit code 7 where a number of the report is below its limit", no_effect=True, strict=False
    )
    fail_over: dict[str, float] = setting(
        {}, "exit code 7 where a number of the report is above its limit", no_effect=True, strict=False
    )


class Config(Section):
    """A whole config file. Relative paths start at the file's own folder (`base`)."""

    seed: int = setting(0, "seed of every random choice", ge=0, lt=2**63)
    out: Name = setting("runs/first", "the output folder, or a URL: s3://bucket/run", no_effect=True)
    shard_rows: int = setting(4096, "rows a shard; a multiple of 256", no_effect=True, ge=256, multiple_of=256)
    workers: int = setting(1, "processes that work on shards side by side", no_effect=True, ge=1)
    engine: Literal["auto", "inline", "pool", "ray"] = setting(
        "auto",
        "where shards are worked on: inline (this process), pool (worker processes), ray (a Ray cluster); "
        "auto: inline for one worker, else pool",
        no_effect=True,
    )
    ray_address: Name = setting(
        "auto",
        "the Ray cluster: auto (of the environment or this machine), local (one for this run), or host:port",
        no_effect=True,
    )
    ray_wait: float = setting(
        300.0, "seconds to wait for a node that offers what a task asks for", no_effect=True, ge=0
    )
    task_cpus: float = setting(1.0, "ray: cores that each task asks for", no_effect=True, gt=0)
    task_gpus: float | None = setting(
        None,
        "ray: GPUs that each task with a model asks for (default: 1 where its device is cuda, else 0)",
        no_effect=True,
        ge=0,
    )
    memory: str = setting(
        "4GB", "memory of the run, shared by its workers; what vectors do not fit are read again", no_effect=True
    )
    input: InputConfig = Field(default_factory=InputConfig, description="the user's files")
    embed: EmbedConfig = Field(default_factory=EmbedConfig, description="the teacher")
    guide: EmbedConfig | None = setting(None, "a second teacher, for the rule guide; the same keys as [embed]")
    index: IndexConfig = Field(default_factory=IndexConfig, description="how the corpus is searched")
    retrieve: RetrieveConfig = Field(default_factory=RetrieveConfig, description="candidates")
    rescore: RescoreConfig | None = setting(None, "a cross-encoder that scores the best candidates again")
    filter: FilterConfig = Field(default_factory=FilterConfig, description="which may be negatives")
    emit: EmitConfig = Field(default_factory=EmitConfig, description="training files")
    previous: PreviousConfig | None = setting(None, "an earlier run, to mine again; see docs/remining.md")
    report: ReportConfig = Field(default_factory=ReportConfig, description="limits")

    _base: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def base(self) -> Path:
        """Folder that relative paths start at."""
        return self._base

    @property
    def out_folder(self) -> Path:
        """The output folder as an absolute path."""
        return path_of(self.out, self._base).resolve()

    @property
    def previous_folder(self) -> Path | None:
        """The earlier run's folder as an absolute path; None where there is none."""
        return path_of(self.previous.run, self._base).resolve() if self.previous is not None else None

    @property
    def teachers(self) -> dict[TeacherTable, EmbedConfig]:
        """The models that give vectors, by their table: embed, guide where there is one, and those of sources."""
        found: dict[TeacherTable, EmbedConfig] = {"embed": self.embed}
        if self.guide is not None:
            found["guide"] = self.guide
        for number, source in enumerate(self.retrieve.source):
            if source.teacher is not None:
                found[teacher_table(number)] = source.teacher
        return found

    @property
    def model_gpus(self) -> float:
        """GPUs that a task with a model asks for."""
        if self.task_gpus is not None:
            return self.task_gpus
        return float(any(device.startswith("cuda") for device in self.devices.values()))

    @property
    def devices(self) -> dict[str, str]:
        """The devices named for models, by the model's table."""
        found: dict[str, str | None] = {table: teacher.device for table, teacher in self.teachers.items()}
        if self.rescore is not None:
            found["rescore"] = self.rescore.device
        return {table: device for table, device in found.items() if device}

    @property
    def uses_hash(self) -> bool:
        """Whether a teacher is the hash encoder, which is for tests only."""
        return any(teacher.model == "hash" for teacher in self.teachers.values())

    def at(self, base: Path) -> "Config":
        """Return the same config with relative paths starting at `base`."""
        tables = {"embed": self.embed, "guide": self.guide}
        update: dict[str, Any] = {name: _placed(teacher, base) for name, teacher in tables.items() if teacher}
        sources = [_placed_source(source, base) for source in self.retrieve.source]
        update["retrieve"] = self.retrieve.model_copy(update={"source": sources})
        if self.rescore is not None:
            update["rescore"] = _placed(self.rescore, base)
        copy = self.model_copy(update=update)
        copy._base = base
        return copy


def _placed(teacher: Model, base: Path) -> Model:
    """Return the same with a model's relative path starting at `base`."""
    model = teacher.model
    local = base / Path(model).expanduser()
    if model.startswith(("./", "../")) or local.is_dir():
        model = str(local)
    return teacher.model_copy(update={"model": model})


def _placed_source(source: SourceConfig, base: Path) -> SourceConfig:
    if source.teacher is None:
        return source
    return source.model_copy(update={"teacher": _placed(source.teacher, base)})


SECTIONS = ("input", "embed", "index", "retrieve", "filter", "emit", "report")
