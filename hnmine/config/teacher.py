"""The tables `[embed]` and `[guide]`, and `teacher` of a source: a teacher each."""

from typing import Any, Literal

from hnmine.config.base import Name, Paths, Section, setting

TeacherTable = str
"""Where a teacher stands in the file: embed, guide, or retrieve.source.0.teacher."""
Kind = Literal["query", "document"]
CHOICE = ("documents", "sample")
"""The settings that say which documents are embedded, of [embed] alone."""


class EmbedConfig(Section):
    """The teacher: which model turns texts into vectors, and how. `guide` and a source's `teacher` take the same."""

    model: Name = setting(
        "sentence-transformers/all-MiniLM-L6-v2",
        'name or local path of a sentence-transformers model; "precomputed"; or "hash" (tests only)',
    )
    revision: Name | None = setting(None, "the model's revision on its hub")
    query_prompt: str = setting("", "put before every query")
    document_prompt: str = setting("", "put before every document")
    max_length: int | None = setting(None, "tokens a text is cut to (default: the model's own)", ge=8)
    similarity: Literal["cosine", "dot"] = setting("cosine", "cosine normalises every vector; dot leaves them")
    precision: Literal["float32", "float16", "bfloat16", "int8"] = setting(
        "float32", "numbers that the model computes in: float16 and bfloat16 need a GPU, int8 a CPU and OpenVINO"
    )
    dtype: Literal["float32", "float16"] = setting("float32", "precision that vectors are stored in")
    corpus_vectors: Paths | None = setting(
        None, "precomputed: Parquet (doc_id, vector), or .npy in corpus order", no_effect=True
    )
    query_vectors: Paths | None = setting(
        None, "precomputed: Parquet (query_id, vector), or .npy in query order", no_effect=True
    )
    batch_tokens: int | None = setting(
        None, "tokens a batch, padding included (default: 1,024 on a CPU, 16,384 on a GPU)", no_effect=True, ge=1
    )
    batch_size: int = setting(
        32, "texts a batch, for models whose tokens cannot be counted beforehand", no_effect=True, ge=1
    )
    device: Name | None = setting(None, "cpu, cuda, cuda:1, mps (default: the best there is)", no_effect=True)
    trust_remote_code: bool = setting(False, "let the model's repository run its own Python code")
    documents: Literal["all", "candidates"] = setting(
        "all", "[embed] alone: all documents, or only those that other sources find, positives and a random sample"
    )
    sample: int = setting(1000, 'documents = "candidates": random documents embedded besides', ge=0)

    def vector_settings(self) -> dict[str, Any]:
        """Return the settings that determine a text's vector, for content keys; not which texts get one."""
        return {name: value for name, value in self.semantic().items() if name not in CHOICE}

    def prompt(self, kind: Kind) -> str:
        """Return what is put before every text of a kind."""
        return self.query_prompt if kind == "query" else self.document_prompt
