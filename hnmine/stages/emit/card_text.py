"""What the card says of how a set was mined. Paths and addresses of the user's machines are left out of it."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from hnmine.config.auto import resolve_auto
from hnmine.config.models import EmbedConfig, ModelTable, RescoreConfig, SparseConfig
from hnmine.config.served import is_served
from hnmine.config.tables import Config
from hnmine.display import percent
from hnmine.runtime.stage import RunContext
from hnmine.storage.schemas.filter import KEEP, VERDICTS
from hnmine.storage.store import MANIFEST, read_json

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
"""Names of sizes that the hub knows, each ten times the one before."""

_KINDS = {"cross_encoder": "cross-encoder", "late_interaction": "late-interaction model"}


def size_category(rows: int) -> str:
    """Return the hub's name for a number of rows."""
    return SIZES[min(max(len(str(rows)) - 3, 0), len(SIZES) - 1)]


def public(given: Any) -> Any:
    """Return settings without what is private: of a path its last part, of a server's address that it is one.

    Prompts are texts, not paths, and stay as they are.
    """
    if isinstance(given, Mapping):
        return {name: own if name.endswith("_prompt") else public(own) for name, own in given.items()}
    if isinstance(given, list):
        return [public(one) for one in given]
    if not isinstance(given, str):
        return given
    if is_served(given):
        return "(a server)"
    return PurePath(given).name if given.startswith(("/", "./", "../", "~")) or "://" in given else given


def code(text: str) -> str:
    """Return a text as code in Markdown, also in a table: what would end it becomes a space."""
    plain = re.sub(r"[`|\s]+", " ", text)
    return f"`{plain}`"


def model_name(table: ModelTable, listed: str | None = None) -> str:
    """Return a model's name for readers of the card; `listed` is what the server calls a served one, if it is known."""
    if table.model == "precomputed":
        return "precomputed vectors"
    if isinstance(table, EmbedConfig) and table.command is not None:
        return f"the program {code(' '.join(public(table.command)))}"
    if not isinstance(table, SparseConfig) and is_served(table.model):
        name = table.served_model or listed
        return f"{code(public(name))}, by a server" if name else "a model of a server"
    revision = f" at revision {code(table.revision)}" if table.revision else ""
    return code(public(table.model)) + revision


def how_mined(context: RunContext, rescore: RescoreConfig | None) -> str:
    """Return the rows of the card's table on the way from the input to the negatives.

    `rescore` is the table whose scores the set depends on; None if there is none.
    """
    config = context.config
    ingest, filtered = _counts(context, "ingest"), _counts(context, "filter")
    judged = f", {ingest['judged_negatives']:,} pairs judged irrelevant" if ingest["judged_negatives"] else ""
    rows = {
        "input": f"{ingest['documents']:,} documents, {ingest['queries']:,} queries, "
        f"{ingest['positives']:,} labelled positives{judged}",
        "evaluation set, kept out": _evaluation(ingest) if config.input.has_evaluation else "",
        "teacher": f"{model_name(config.embed, _listed(context, 'embed', 'teacher'))}, "
        f"similarity `{config.embed.similarity}`",
        "candidates": f"for each query the best documents: {_sources(config)}{_deeper(filtered)}",
        "scored again by": _rescorer(context, rescore) if rescore is not None else "",
        "rules": f"{_settings(resolve_auto(config.filter).chosen())}: {_kept(filtered['verdicts'])}",
        "rejected": _rejected(filtered["verdicts"]),
        "guide": model_name(config.guide) if config.guide is not None else "",
        "choice": f"{code(config.emit.choose)}, up to {config.emit.num_negatives} negatives for each (query, positive)",
        "earlier run": code(config.previous.replace) if config.previous is not None else "",
    }
    return "".join(f"| {name} | {text} |\n" for name, text in rows.items() if text)


def _counts(context: RunContext, stage: str) -> dict[str, Any]:
    """Return what the manifest of a finished stage counts."""
    return dict((read_json(context.reading(stage) / MANIFEST) or {})["counts"])


def _rescorer(context: RunContext, table: RescoreConfig) -> str:
    counts, name = _counts(context, "rescore"), model_name(table, _listed(context, "rescore", "rescore_model"))
    of = counts["scored"] + counts["not_rescored"]
    return (
        f"{name}, a {_KINDS[table.kind]}: {counts['scored']:,} of {of:,} candidates and labelled positives among them"
    )


def _deeper(counts: Mapping[str, Any]) -> str:
    """Return for how many queries the filter searched further down; "" for none. `counts` are those of filter."""
    deeper = counts.get("queries_searched_deeper", 0)
    return f"; for {deeper:,} queries more, up to {counts['deepest_list']:,}" if deeper else ""


def _rejected(verdicts: Mapping[str, int]) -> str:
    """Return the share of the candidates that each check and rule rejects, in their order; "" where none does."""
    of = sum(verdicts.values()) - verdicts.get("positive", 0)
    named = [name for name in VERDICTS if verdicts.get(name) and name not in (KEEP, "positive")]
    return ", ".join(f"{percent(verdicts[name] / of)} {code(name)}" for name in named)


def _listed(context: RunContext, stage: str, part: str) -> str | None:
    """Return what a server calls the model that a stage has used, by its manifest; None if it says nothing."""
    found = ((read_json(context.reading(stage) / MANIFEST) or {}).get("parts", {}).get(part) or {}).get("model")
    return found if isinstance(found, str) else None


def _evaluation(counts: Mapping[str, Any]) -> str:
    return f"its {counts['eval_queries']:,} queries and the {counts['eval_documents']:,} documents relevant to them"


def _sources(config: Config) -> str:
    """Return the sources of candidates with the number that each gives, and the models of their own."""
    retrieve = config.retrieve
    if not retrieve.source:
        return f"{retrieve.top_k:,} by the teacher"
    models = [source.teacher or source.encoder for source in retrieve.source]
    named = [
        f"{depth:,} by {code(source.label)}" + (f" ({model_name(model)})" if model is not None else "")
        for source, model, depth in zip(retrieve.source, models, retrieve.depths, strict=True)
    ]
    fused = f"; of these {retrieve.top_k:,} by reciprocal rank fusion" if retrieve.fuse == "rrf" else ""
    return ", ".join(named) + fused


def _settings(given: Mapping[str, Any]) -> str:
    return ", ".join(code(f"{name} = {json.dumps(value)}") for name, value in given.items())


def _kept(verdicts: Mapping[str, int]) -> str:
    """Return how many of the candidates that are no positives are kept."""
    candidates = sum(verdicts.values()) - verdicts.get("positive", 0)
    return f"{verdicts.get('keep', 0):,} of {candidates:,} candidates kept"
