"""The audit: a quality report for mined files of any tool, with a model or without, with labels or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.commands.audit.biases import biases
from hnmine.commands.audit.collection import Side, known_queries, look_up, open_collection, sample_of
from hnmine.commands.audit.findings import KINDS, finding, of_examples
from hnmine.commands.audit.mined import Mined, duplicate_rows, examples_of, pick
from hnmine.commands.audit.reading import Reader, mined_sources, read_shapes
from hnmine.commands.audit.scores import score_findings, stored
from hnmine.commands.audit.shapes import Shape
from hnmine.commands.audit.teacher import measure, model_findings, quality
from hnmine.commands.audit.texts import among, by_qrels, served_queries, text_findings, usual_number
from hnmine.config import Config, EmbedConfig
from hnmine.errors import ConfigError, InputError, ModelError, Problems
from hnmine.models.encoders import Encoder, HashEncoder, make_encoder
from hnmine.models.model_files import HASH_WARNING
from hnmine.runtime.progress import Progress
from hnmine.science.eci import capacity
from hnmine.storage.input_files import Source
from hnmine.storage.store import write_json

AUDIT_FILE = "audit.json"
NO_MODEL = "no model was given: --model NAME"
KNOWN_SHARE = 0.5


@dataclass(frozen=True)
class Request:
    """What to audit, and with what.

    Attributes:
        files: mined files: files, folders, globs, URLs.
        corpus, queries, qrels: as in a config's input; None for none.
        model: a sentence-transformers name or path, "hash", or None.
        query_prompt, document_prompt: put before texts that the model sees.
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
        request: files and means.
        progress: shows how far it is.
        base: folder that relative paths start at; the working directory by default.

    Raises:
        ConfigError: options that do not go together.
        InputError: files that are missing, damaged, or of no known shape; all problems at once.
        ModelError: the model cannot be loaded.
    """
    sources, collection = _open(request, base or Path.cwd())
    layouts, shape = read_shapes(sources)
    if shape.ids and not (request.corpus and request.queries):
        raise InputError(f"{sources[0].name}: holds ids; {_IDS}")
    encoder = _encoder(request)
    problems = Problems()
    reader = Reader(shape, problems)
    for source, layout in zip(sources, layouts, strict=True):
        reader.read(source, layout)
    problems.raise_if_any()
    rows, side = reader.done(), Side()
    if not len(rows):
        raise InputError(f"{sources[0].name}: no rows to audit")
    ids = shape.ids or _holds_ids(rows, shape, collection)
    if collection is not None:
        rows, side = look_up(rows, collection, ids)
    report = _report(shape, rows, side, encoder, progress or Progress())
    return {"shape": shape.name, "columns": shape.described(), "ids": ids, "model": request.model, **report}


_IDS = "name the texts that they stand for with --corpus and --queries"


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
    """Return the model, loaded before anything long is read."""
    if request.model is None:
        return None
    if request.model == "precomputed":
        raise ConfigError("--model precomputed: an audit embeds texts itself; name a model")
    prompts = request.query_prompt, request.document_prompt
    try:
        return make_encoder(EmbedConfig(model=request.model, query_prompt=prompts[0], document_prompt=prompts[1]))
    except ModelError as error:
        raise ModelError(str(error).replace("embed.model", "--model")) from None


def _holds_ids(rows: Mined, shape: Shape, collection: Config | None) -> bool:
    """Tell whether triples without a header hold ids: most of their queries are ids of the collection.

    Raises:
        InputError: they hold nothing but numbers, and there is no collection.
    """
    if shape.name != "triples":
        return False
    if collection is not None and collection.input.corpus and collection.input.queries:
        return known_queries(rows, collection) > KNOWN_SHARE * len(rows.queries)
    if all(text.isdigit() for text in (*rows.queries, *rows.documents)):
        raise InputError(f"{rows.sources[0]}: holds numbers only, which must be ids; {_IDS}")
    return False


def _report(shape: Shape, rows: Mined, side: Side, encoder: Encoder | None, progress: Progress) -> dict[str, Any]:
    again = duplicate_rows(rows)
    found = {"duplicate_row": of_examples(rows, again)}
    # the same labelled document may rightly stand in two examples of a query; elsewhere a row twice is looked at once
    kept = rows if shape.name == "labeled-pair" else pick(rows, np.flatnonzero(~again))
    mined = examples_of(kept, shape.name)
    found |= text_findings(mined) | score_findings(mined)
    if side.judged is not None:
        found["positive_by_qrels"] = by_qrels(mined, *side.judged)
    numbers, of_biases = biases(mined)
    found |= of_biases
    measured: dict[str, Any] = {name: None for name in ("hardness", "safety", "eci")}
    measured |= {f"{name}_reason": NO_MODEL for name in measured} | {"distributions": {}}
    if encoder is not None:
        sample = side.sample or sample_of(mined.documents, mined.hashes[1])
        scores = measure(mined, encoder, sample, progress)
        found |= model_findings(mined, scores, _copies(mined))
        measured = quality(mined, scores)
    findings = {kind.name: finding(kind, found.get(kind.name)) for kind in KINDS}
    return {
        "files": _files(rows),
        "counts": _counts(rows, mined),
        "collection": side.counts,
        "coverage": _coverage(mined),
        "capacity": _capacity(mined),
        **measured,
        "file_scores": stored(mined) if "scores_not_finite" in found else {},
        "biases": numbers,
        "hubs": _hubs(mined),
        "findings": findings,
        "faults": sum(entry["fault"] for entry in findings.values()),
        "warnings": _warnings(encoder, side, mined),
    }


def _files(rows: Mined) -> list[dict[str, Any]]:
    counts = np.bincount(rows.files, minlength=len(rows.sources))
    return [{"file": name, "rows": int(count)} for name, count in zip(rows.sources, counts, strict=True)]


def _counts(rows: Mined, mined: Mined) -> dict[str, int]:
    lengths = mined.negatives.documents.lengths
    return {
        "rows": len(rows),
        "examples": len(mined),
        "queries": len(np.unique(mined.asked)),
        "positives": len(mined.positives.documents.values),
        "negatives": len(mined.negatives.documents.values),
        "documents": len(np.unique(mined.keys[1])),
        "usual_negatives": usual_number(lengths[lengths > 0]),
    }


def _coverage(mined: Mined) -> float:
    """Return the share of queries with a negative."""
    some = mined.negatives.documents.lengths > 0
    return len(np.unique(mined.asked[some])) / len(np.unique(mined.asked))


def _capacity(mined: Mined) -> float:
    """Return the mean capacity over queries, of each query its examples' mean."""
    asked, counts = np.unique(mined.asked, return_inverse=True, return_counts=True)[1:]
    sums = np.bincount(asked, weights=capacity(mined.negatives.documents.lengths), minlength=len(counts))
    return float((sums / counts).mean())


def _hubs(mined: Mined) -> dict[str, Any]:
    """Return how unevenly documents serve; each counts once for a query."""
    number = np.sort(served_queries(mined)[1])[::-1]
    if not len(number):
        return {"documents": 0, "most_served": 0, "top_percent_share": 0.0}
    hundredth = max(1, len(number) // 100)
    share = float(number[:hundredth].sum() / number.sum())
    return {"documents": len(number), "most_served": int(number[0]), "top_percent_share": share}


def _copies(mined: Mined) -> np.ndarray:
    """Tell which negatives are copies of their positive or query by their texts, or empty; bool, one a negative."""
    negatives, positives, keys = mined.negatives.documents, mined.positives.documents, mined.keys[1]
    key = keys[negatives.values]
    of_positive = among(negatives.owners, key, positives.owners, keys[positives.values])
    of_query = key == mined.asked[negatives.owners]
    return np.asarray(of_positive | of_query | mined.empty[1][negatives.values])


def _warnings(encoder: Encoder | None, side: Side, mined: Mined) -> list[str]:
    out = [HASH_WARNING] if isinstance(encoder, HashEncoder) else []
    known = {"documents_in_corpus": len(mined.documents), "queries_in_qrels": len(mined.queries)}
    for name, total in known.items():
        if name in side.counts and side.counts[name] < KNOWN_SHARE * total:
            what, where = name.split("_in_")
            out.append(
                f"only {side.counts[name]:,} of {total:,} {what} are in the {where}: their texts differ (titles are "
                "put before texts), so what the labels say is of those alone"
            )
    if not mined.positives.documents.lengths.any():
        out.append("no row has a positive: check which column holds them")
    return out


def write_audit(report: dict[str, Any], folder: Path) -> Path:
    """Write a report to audit.json in a folder, and return the file.

    Raises:
        OutputError: the folder or the disk does not take it.
    """
    path = folder / AUDIT_FILE
    write_json(report, path)
    return path
