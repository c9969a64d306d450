"""The cluster file of `hnmine plan --cluster`: the machines that a run is planned for, and a collection to be."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from hnmine.config.section import Section, setting
from hnmine.config.sizes import parse_size
from hnmine.errors import ConfigError


class CollectionTable(Section):
    """A collection that does not exist yet; without this table the config's own input is counted."""

    documents: int = Field(description="documents of the corpus, copies apart", ge=1)
    queries: int = Field(description="queries with a positive", ge=1)
    positives: float = setting(1.0, "labelled positives a query, in the mean", ge=1)
    document_bytes: float = setting(500.0, "UTF-8 bytes of a document's title and text, in the mean", gt=0)
    query_bytes: float = setting(50.0, "UTF-8 bytes of a query, in the mean", gt=0)
    id_bytes: float = setting(16.0, "UTF-8 bytes of an id, in the mean", gt=0)
    dim: int | None = setting(None, "numbers a vector (default: as far as the config tells)", ge=1)


class ClusterConfig(Section):
    """The machines: all nodes alike."""

    nodes: int = setting(1, "nodes; those after the first have work only with engine = ray", ge=1)
    cores: int = setting(8, "cores of a node", ge=1)
    memory: str = setting("32GB", "memory of a node")
    gpus: int = setting(0, "GPUs of a node", ge=0)
    passages_per_second: float = setting(
        100.0, "documents a second that one GPU embeds with the config's model; without GPUs, one node", gt=0
    )
    gflops: float = setting(75.0, "10^9 float32 operations a second of one core in a matrix product", gt=0)
    core_speed: float = setting(
        1.0, "a core's speed in all other work, over that of the machine that docs/benchmarks.md is from", gt=0
    )
    storage: float = setting(500.0, "10^6 bytes a second that one node reads or writes of the output folder", gt=0)
    storage_in_all: float | None = setting(
        None, "the same for all nodes together (default: as much as the nodes can)", gt=0
    )
    file_seconds: float = setting(0.001, "seconds to open one file there", ge=0)
    collection: CollectionTable | None = setting(None, "a collection that does not exist yet")

    @property
    def memory_bytes(self) -> int:
        """Memory of a node."""
        return parse_size(self.memory)

    def bandwidth(self, tasks: int, nodes: int) -> float:
        """Return the bytes a second that each of some tasks gets, working at once on some nodes.

        Args:
            tasks: at work at once, at least 1.
            nodes: that they are on, at least 1.
        """
        whole = nodes * self.storage
        if self.storage_in_all is not None:
            whole = min(whole, self.storage_in_all)
        return 1e6 * min(whole / tasks, self.storage)


def load_cluster(path: Path) -> ClusterConfig:
    """Read a cluster file.

    Raises:
        ConfigError: with every problem found, each with the file and the key.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; see docs/scale.md for an example") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    try:
        found = ClusterConfig.model_validate(raw)
    except ValidationError as error:
        lines = (f"{path}: {'.'.join(map(str, e['loc']))}: {_message(e)}" for e in error.errors())
        raise ConfigError("\n".join(lines)) from None
    try:
        memory = parse_size(found.memory)
    except ValueError as error:
        raise ConfigError(f"{path}: memory: {error}") from None
    if not memory:
        raise ConfigError(f"{path}: memory: a node without any cannot work; say how much it has")
    return found


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown key; known keys: {', '.join(ClusterConfig.model_fields)}, and those of [collection]"
    message: str = error["msg"]
    return f"{message[:1].lower()}{message[1:]}"
