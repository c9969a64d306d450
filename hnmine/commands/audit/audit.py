"""The audit of mined files of any tool: findings and quality, with or without a model and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.commands.audit.collection import CollectionFacts, known_queries, look_up, open_collection, sample_of
from hnmine.commands.audit.findings import KINDS, finding, of_examples
from hnmine.commands.audit.mined import Mined, duplicate_rows, examples_of, pick
from hnmine.commands.audit.model import model_findings, model_scores, quality
from hnmine.commands.audit.reader import mined_sources, read_rows, read_shapes, text_tables
from hnmine.commands.audit.scores import score_distributions, score_findings
from hnmine.commands.audit.shapes import Shape
from hnmine.commands.audit.texts import biases, copies, judged_relevant, queries_served, text_findings, usual_number
from hnmine.config.models import EmbedConfig
from hnmine.config.served import is_served
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError, ModelError, Problems
from hnmine.models.encoders import Encoder, HashEncoder, make_encoder
from hnmine.models.model_files import HASH_WARNING
from hnmine.runtime.engines import Progress
from hnmine.science.eci import capacity
from hnmine.stages.report.quality import mean_by_group
from hnmine.stages.report.statistics import hub_statistics, share
from hnmine.storage.input_files import Source

AUDIT_FILE = "audit.json"
NO_MODEL = "no model was given: --model NAME"
KNOWN_SHARE = 0.5


@dataclass(frozen=True)
class Request:
    """The inputs of an audit.

    Attributes:
        files: mined files: files, folders, globs, URLs.
        corpus, queries, qrels: as in a config's input table; None for none.
        model: a sentence-transformers name or path, "hash", or None.
        query_prompt, document_prompt: put before the texts for the model.
    """

    files: tuple[str, ...]
    corpus: Sequence[str] | None = None
    queries: Sequence[str] | None = None
    qrels: Sequence[str] | None = None
    model: str | None = None
    query_prompt: str = ""
    document_prompt: str = ""


def audit(request: Request, progress: Progress | None = None, base: Path | None = None) -> dict[str, Any]:
    """Audit mined files and return the report, the same for the same files.

    Args:
        request: the inputs.
        progress: shows how far the audit is; by default nothing is shown.
        base: folder that relative paths start at; the working directory by default.

    Raises:
        ConfigError: options that contradict each other.
        InputError: files that are missing, damaged, or of no known shape; all problems at once.
        ModelError: the model cannot be loaded.
    """
    sources, collection = _open(request, base or Path.cwd())
    layouts, shape = read_shapes(sources)
    if shape.ids and not (request.corpus and request.queries):
        collection = _beside(sources, shape)
    encoder = _encoder(request)
    rows, facts = read_rows(sources, layouts, shape), CollectionFacts()
    if not len(rows):
        raise InputError(f"{sources[0].name}: no rows to audit")
    ids = shape.ids or _holds_ids(rows, shape, collection)
    if collection is not None:
        rows, facts = look_up(rows, collection, ids)
    report = _report(shape, rows, facts, encoder, progress or Progress())
    return {"shape": shape.name, "columns": shape.described(), "ids": ids, "model": request.model, **report}


def _beside(sources: list[Source], shape: Shape) -> Config:
    """Return the collection of the tables of texts beside rows of ids.

    Raises:
        InputError: there are none.
    """
    found, problems = text_tables(sources) if shape.name == "distillation" else None, Problems()
    collection = None if found is None else open_collection(found, Path.cwd(), problems)
    problems.raise_if_any()
    if collection is None:
        raise InputError(f"{sources[0].name}: holds ids; {_IDS}")
    return collection


_IDS = "name the texts for them with --corpus and --queries"


def _open(request: Request, base: Path) -> tuple[list[Source], Config | None]:
    problems = Problems()
    sources: list[Source] = []
    try:
        sources = mined_sources(request.files, base)
    except InputError as error:
        problems.add(str(error))
    given = {"corpus": request.corpus, "queries": request.queries, "qrels": request.qrels}
    collection = open_collection(given, base, problems)
    problems.raise_if_any()
    return sources, collection


def _encoder(request: Request) -> Encoder | None:
    """Return the model; it is loaded before the rows are read, so that a mistake shows early."""
    if request.model is None:
        return None
    if request.model == "precomputed":
        raise ConfigError("--model precomputed: an audit embeds texts itself; name a model")
    if is_served(request.model):
        raise ConfigError("--model: an audit asks no server; name a model that can be loaded")
    query, document = request.query_prompt, request.document_prompt
    try:
        return make_encoder(EmbedConfig(model=request.model, query_prompt=query, document_prompt=document))
    except ModelError as error:
        raise ModelError(str(error).replace("embed.model", "--model")) from None


def _holds_ids(rows: Mined, shape: Shape, collection: Config | None) -> bool:
    """Return whether triples without a header hold ids: most of their queries are ids of the collection.

    Raises:
        InputError: all fields are numbers, and there is no collection.
    """
    if shape.name != "triples":
        return False
    if collection is not None and collection.input.corpus and collection.input.queries:
        return known_queries(rows, collection) > KNOWN_SHARE * len(rows.queries)
    if all(text.isdigit() for text in (*rows.queries, *rows.documents)):
        raise InputError(f"{rows.sources[0]}: holds numbers only, which must be ids; {_IDS}")
    return False


def _report(
    shape: Shape, rows: Mined, facts: CollectionFacts, encoder: Encoder | None, progress: Progress
) -> dict[str, Any]:
    again = duplicate_rows(rows)
    # a labelled document may belong to two examples of its query; a duplicate of any other row is left out
    kept = rows if shape.name == "labeled-pair" else pick(rows, np.flatnonzero(~again))
    mined = examples_of(kept, shape.name)
    numbers, bias_findings = biases(mined)
    found = {"duplicate_row": of_examples(rows, again)}
    found |= text_findings(mined) | score_findings(mined) | bias_findings
    if facts.judged is not None:
        found["positive_by_qrels"] = judged_relevant(mined, *facts.judged)
    measured: dict[str, Any] = {name: None for name in ("hardness", "safety", "eci")}
    measured |= {f"{name}_reason": NO_MODEL for name in measured} | {"distributions": {}}
    if encoder is not None:
        sample = facts.sample or sample_of(mined.documents, mined.hashes[1])
        scores = model_scores(mined, encoder, sample, progress)
        found |= model_findings(mined, scores, copies(mined))
        measured = quality(mined, scores)
    findings = {kind.name: finding(kind, found.get(kind.name)) for kind in KINDS}
    lengths, asked = mined.negatives.documents.lengths, np.unique(mined.asked, return_inverse=True)[1]
    queries = int(asked.max()) + 1
    per_file = np.bincount(rows.files, minlength=len(rows.sources)).tolist()
    return {
        "files": [{"file": name, "rows": count} for name, count in zip(rows.sources, per_file, strict=True)],
        "counts": {
            "rows": len(rows),
            "examples": len(mined),
            "queries": queries,
            "positives": len(mined.positives.documents.values),
            "negatives": len(mined.negatives.documents.values),
            "documents": len(np.unique(mined.keys[1])),
            "usual_negatives": usual_number(lengths[lengths > 0]),
        },
        "collection": facts.counts,
        "coverage": share(len(np.unique(asked[lengths > 0])), queries),
        "capacity": float(mean_by_group(capacity(lengths), asked, queries).mean()),
        **measured,
        "file_scores": score_distributions(mined) if "scores_not_finite" in found else {},
        "biases": numbers,
        "hubs": hub_statistics(queries_served(mined)[1]),
        "findings": findings,
        "faults": sum(entry["fault"] for entry in findings.values()),
        "warnings": _warnings(encoder, facts, mined),
    }


def _warnings(encoder: Encoder | None, facts: CollectionFacts, mined: Mined) -> list[str]:
    out = [HASH_WARNING] if isinstance(encoder, HashEncoder) else []
    known = {"documents_in_corpus": len(mined.documents), "queries_in_qrels": len(mined.queries)}
    for name, total in known.items():
        if name in facts.counts and facts.counts[name] < KNOWN_SHARE * total:
            what, where = name.split("_in_")
            out.append(
                f"only {facts.counts[name]:,} of {total:,} {what} are in the {where}: the others are written "
                "differently there (titles are put before texts), and findings by labels do not cover them"
            )
    if not mined.positives.documents.lengths.any():
        out.append("no row has a positive: check which column holds them")
    return out
