"""The cluster file of `hnmine plan --cluster`: machines to plan for, and a collection that does not exist yet."""

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from hnmine.config.section import Section, setting
from hnmine.display import parse_size
from hnmine.errors import ConfigError


class CollectionTable(Section):
    """A collection that does not exist yet. Without this table the input of the config is counted."""

    documents: int = Field(description="documents in the corpus, copies not counted", ge=1)
    queries: int = Field(description="queries with a positive", ge=1)
    positives: float = setting(1.0, "mean number of labelled positives a query", ge=1)
    document_bytes: float = setting(500.0, "mean UTF-8 bytes of a document's title and text", gt=0)
    query_bytes: float = setting(50.0, "mean UTF-8 bytes of a query", gt=0)
    id_bytes: float = setting(16.0, "mean UTF-8 bytes of an id", gt=0)
    dim: int | None = setting(None, "dimension of the vectors (default: the model's, 768 if unknown)", ge=1)


class ClusterConfig(Section):
    """A cluster of identical nodes."""

    nodes: int = setting(1, "number of nodes; only engine = ray uses more than one", ge=1)
    cores: int = setting(8, "cores of a node", ge=1)
    memory: str = setting("32GB", "memory of a node")
    gpus: int = setting(0, "GPUs of a node", ge=0)
    passages_per_second: float = setting(
        100.0,
        "documents a second that a GPU embeds with the config's model; without GPUs, a node",
        gt=0,
    )
    gflops: float = setting(75.0, "10^9 float32 operations a second of one core in a matrix product", gt=0)
    core_speed: float = setting(
        1.0, "speed of a core in all other work, relative to the machine of docs/benchmarks.md", gt=0
    )
    storage: float = setting(500.0, "10^6 bytes a second that one node reads from or writes to the output folder", gt=0)
    storage_in_all: float | None = setting(None, "the same for all nodes together (default: nodes times storage)", gt=0)
    file_seconds: float = setting(0.001, "seconds to open one file of the output folder", ge=0)
    collection: CollectionTable | None = setting(None, "a collection that does not exist yet")

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, memory: str) -> str:
        if not parse_size(memory):
            raise ValueError("a node without memory cannot work; give its size")
        return memory


def load_cluster(path: Path) -> ClusterConfig:
    """Read a cluster file.

    Raises:
        ConfigError: with every problem found, each with the file and the key.
    """
    try:
        return ClusterConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; see docs/scale.md for an example") from None
    except ValidationError as error:
        known = f"unknown key; known keys: {', '.join(ClusterConfig.model_fields)}, and those of [collection]"
        lines = []
        for item in error.errors():
            text = known if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
            lines.append(f"{path}: {'.'.join(map(str, item['loc']))}: {text[:1].lower()}{text[1:]}")
        raise ConfigError("\n".join(lines)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
