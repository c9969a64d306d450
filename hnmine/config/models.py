"""Tables of the config file that name models: teachers, sparse encoders, rescorers and judges."""

import shlex
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import PrivateAttr, model_validator

from hnmine.config.section import MOST_SECONDS, Name, Paths, Section, setting
from hnmine.config.served import ServedModel, ServedTexts, is_served
from hnmine.storage.paths import existing_path

Kind = Literal["query", "document"]
COMPARED = ("bfloat16", "int8")
"""Precisions whose vectors are compared with those of float32."""
WITHOUT_MODEL = ("hash", "precomputed", "command")
"""Values of `model` in [embed] that name no model to load; "command" is what `model` becomes where `command` is set."""
TeacherTable = str
"""Dotted path of a teacher's table: `embed`, `guide` or `retrieve.source.0.teacher`."""
TemplateName = Literal["better-or-worse", "answers", "grades"]
MAX_ASKED = 26
"""Most candidates of one request to a judge: each has a letter."""
SELECTION = ("documents", "sample")
"""The settings of [embed] that say which documents get a vector. The guide and the teachers of sources lack them."""
_REVISION = "branch, tag or commit of the model on its hub (default: its main branch)"
_DEVICE = "cpu, cuda, cuda:1, mps or another device of torch (default: a GPU if there is one)"
_TRUST = "allow the model's repository to run its own Python code"


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
        600.0, "command: seconds that the program may take for one answer", no_effect=True, gt=0, le=MOST_SECONDS
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


ModelTable = EmbedConfig | SparseConfig | RescoreConfig
"""A table that names a model."""
ModelT = TypeVar("ModelT", EmbedConfig, SparseConfig, RescoreConfig)


def placed(table: ModelT, base: Path) -> ModelT:
    """Return a table with the relative path of its model or command, if it is one, starting at `base`."""
    if isinstance(table, EmbedConfig) and table.command is not None:
        placed = table.model_copy()
        placed._folder = base
        return placed
    local = existing_path(table.model, base)
    if table.model.startswith(("./", "../")) or (local is not None and local.is_dir()):
        return table.model_copy(update={"model": str(local or base / table.model)})
    return table
