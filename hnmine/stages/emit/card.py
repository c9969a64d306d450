"""The README beside the training files, a card as the Hugging Face hub has for its datasets.

It says how to load the files, how they were mined, with which settings, and how many there are.
"""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from hnmine.config.emit import EmitConfig
from hnmine.models.cross_encoders import HASH_RESCORE_WARNING
from hnmine.models.model_files import HASH_WARNING
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.card_text import how_mined, public, size_category
from hnmine.stages.emit.formats import ending, format_folders
from hnmine.stages.emit.mixing import MIXING_FOLDER
from hnmine.stages.emit.text_tables import TEXT_TABLES, text_folders
from hnmine.stages.rescore.rescored import reads_rescored
from hnmine.storage.store import write_text

LOSSES = {
    "triplet": "MultipleNegativesRankingLoss, TripletLoss",
    "n-tuple": "MultipleNegativesRankingLoss, CachedMultipleNegativesRankingLoss",
    "n-tuple-scores": "MarginMSELoss (column `scores`: positive first)",
    "labeled-pair": "a cross-encoder's BinaryCrossEntropyLoss",
    "labeled-list": "a cross-encoder's LambdaLoss and other list losses",
    "bge": "FlagEmbedding's trainers",
    "distillation": "DistillKLDivLoss, MarginMSELoss (ids and `scores`: positive first; texts in tables of their own)",
}
SOFT_LOSSES = {
    "labeled-pair": "a cross-encoder's BinaryCrossEntropyLoss or MSELoss (label: P(relevant), 1.0 for positives)",
    "labeled-list": "a cross-encoder's ListNetLoss, LambdaLoss and other losses of graded labels (P(relevant))",
}


_LOADING = """In place of FOLDER write this folder's path, or the repository's name on the hub. Remove extra columns
before training: a trainer takes every column as text.
"""
_LIMITS = """## Limits

- Labels are seldom complete, so some negatives may be relevant. The report of the run estimates how many
  (`false_negative_rate`, a lower bound); it is not part of this folder.
- The scores, and what counts as hard, are those of the teacher.
- Random negatives, if there are any, have passed no rule.
- Add `license` and `language` at the top of this file before you publish it: they are those of the texts.
"""


def write_card(context: RunContext, counts: Mapping[str, Any]) -> None:
    """Write emit/README.md from the stage's counts. Its front matter lets `datasets.load_dataset` find the files."""
    config = context.config
    settings = {name: getattr(config, name).semantic() for name in ("embed", "index", "retrieve", "filter", "emit")}
    rescore = config.rescore if reads_rescored(config) or "rescore_score" in config.emit.extra_columns else None
    if rescore is not None:
        settings["rescore"] = rescore.semantic()
    if config.previous is not None:
        settings["previous"] = config.previous.part()
    warning = f"\n> **Warning:** {HASH_WARNING}.\n" if config.uses_hash else ""
    if rescore is not None and rescore.model == "hash":
        warning += f"\n> **Warning:** {HASH_RESCORE_WARNING}.\n"
    formats = _formats(config.emit, counts)
    # the fence is longer than any run of backticks in the settings: a model's name must not become markup
    settings_text = json.dumps(public({"seed": config.seed, **settings}), indent=2, sort_keys=True, ensure_ascii=False)
    fence = "`" * (max((len(run) for run in re.findall("`+", settings_text)), default=2) + 3)
    text = f"""---
configs:
{formats.front_matter}tags:
- hard-negatives
- hnmine
- sentence-transformers
size_categories:
- {size_category(counts["rows"])}
---
# Mined training data
{warning}
Queries, documents that are relevant to them, and documents that look relevant and are not: hard negatives, mined with
hnmine to train embedding models and rerankers.

{formats.text}
{_LOADING}
| what | count |
|---|---|
{_count_rows(counts)}
{_order_and_weights(config.emit)}## How it was mined

| step | this set |
|---|---|
{how_mined(context, rescore)}
{_LIMITS}
## Settings

{fence}json
{settings_text}
{fence}

The teacher's fingerprint and the digests of the input files are in the manifests of the run, which are not part of this
folder.
"""
    write_text(text, context.folder("emit") / "README.md")


def _order_and_weights(emit: EmitConfig) -> str:
    """Return what a trainer must know of the order of the rows and of their weights; "" where there is nothing."""
    text = ""
    if emit.is_ordered:
        first, last = ("easiest", "hardest") if emit.order == "easy_to_hard" else ("hardest", "easiest")
        text += (
            f"The rows are ordered from the {first} example to the {last}: **the trainer must not shuffle them**. "
            "sentence-transformers shuffles unless its argument `batch_sampler` names a sampler that does not, such as "
            "`DefaultBatchSampler(range(len(rows)), batch_size=64, drop_last=False)` from a callable.\n\n"
        )
    if "focal_weight" in emit.extra_columns:
        text += "`focal_weight` multiplies the loss of its example; most losses take no weights by themselves.\n\n"
    if emit.has_clusters:
        text += "`cluster_weight` multiplies exp(score / temperature) of its negative in a softmax loss.\n\n"
    return text


class _Formats(NamedTuple):
    """The formats of the training files, as the card's front matter and as its text."""

    front_matter: str
    text: str


def _formats(emit: EmitConfig, counts: Mapping[str, Any]) -> _Formats:
    names, losses = emit.formats, LOSSES | (SOFT_LOSSES if emit.soft_labels else {})
    files = {
        name: str(folder / f"part-*.{ending(name)}") for name, folder in format_folders(PurePosixPath(), names).items()
    }
    in_card = [name for name in names if len(names) == 1 or ending(name) == "parquet"]  # one file type a card
    configs = {name: name if len(names) > 1 else "default" for name in in_card}
    prefix = "distillation-" if len(names) > 1 else ""
    tables = {
        f"{prefix}{table}": (table, counts["texts"][table], str(folder / table / "part-*.parquet"))
        for folder in text_folders(PurePosixPath(), emit)
        for table in TEXT_TABLES
    }
    if emit.mixes:
        tables[MIXING_FOLDER] = (MIXING_FOLDER, counts["mixtures"], f"{MIXING_FOLDER}/part-*.parquet")
    front_matter = "".join(_config(config, files[name]) for name, config in configs.items())
    of_parquet = ending(in_card[0]) == "parquet"  # not so for bge alone: then the card has no other file type
    front_matter += "".join(_config(config, path) for config, (*_, path) in tables.items() if of_parquet)
    load = "".join(f"    rows = load_dataset({_given(configs.get(name), files[name])})\n" for name in names)
    load += "".join(
        f"    {table} = load_dataset({_given(config if of_parquet else None, path)})  # {rows:,}\n"
        for config, (table, rows, path) in tables.items()
    )
    load = f"    from datasets import load_dataset\n{load}"
    if len(names) == 1:
        return _Formats(front_matter, f"Rows in the format `{names[0]}`, for {losses[names[0]]}.\n\n{load}")
    rows = "".join(
        f"| `{name}` | {counts['formats'][name]['rows']:,} | {counts['formats'][name]['examples_left_out']:,} "
        f"| {losses[name]} |\n"
        for name in names
    )
    table = f"| format | rows | examples with too few negatives for it | losses |\n|---|---|---|---|\n{rows}"
    return _Formats(front_matter, f"The same examples in {len(names)} formats, each in a folder:\n\n{table}\n{load}")


def _config(name: str, files: str) -> str:
    """Return a configuration of the front matter."""
    return f'- config_name: {name}\n  data_files:\n  - split: train\n    path: "{files}"\n'


def _given(config: str | None, files: str) -> str:
    """Return the arguments of `load_dataset` for a configuration of the card, or for files of none of them."""
    if config is None:
        return f'"FOLDER", data_files="{files}", split="train"'
    return f'"FOLDER", {"" if config == "default" else f"{json.dumps(config)}, "}split="train"'


def _count_rows(counts: Mapping[str, Any]) -> str:
    """Return the rows of the table of counts; rows on suspected positives only where their count is not 0."""
    meanings = {
        "rows": "rows, of all formats" if len(counts.get("formats", {})) > 1 else "rows",
        "examples": "examples (query, anchor)",
        "examples_full": "with all negatives wanted",
        "examples_short": "with fewer",
        "examples_without_negatives": "without any",
        "queries_with_negatives": "queries with negatives",
        "negatives_wanted": "negatives wanted",
        "negatives": "negatives",
        "negatives_random": "of which random documents",
        "negatives_filled_up": "of which fill up rows with too few kept candidates",
        "negatives_previous": "of which kept from the previous run (`[previous]`)",
        "documents_as_negatives": "different documents among all negatives",
        "mixtures": "synthetic negatives (`mixing/part-*.parquet`: pairs of an example's negatives to mix)",
        "positives_left_out": "suspected positives left out",
        "queries_left_out": "queries left without a positive as a result",
        "positives_down_weighted": "suspected positives weighted down",
        "positives_relabelled": "further positives, by P(false negative) (column `positive_source`)",
        "positives_by_judgement": "further positives, by judgements (likewise)",
        "batches": "batches (column `batch_id`)",
        "batches_full": "of which full",
        "examples_unbatched": "(query, positive) pairs left out, as their batches were short",
    }
    suspected = ("positives_left_out", "queries_left_out", "positives_down_weighted")
    named = [name for name in meanings if name in counts and (counts[name] or name not in suspected)]
    rows = {meanings[name]: f"{counts[name]:,}" for name in named}
    rows["negatives an example, on average"] = f"{counts['negatives'] / max(1, counts['examples']):.2f}"
    return "".join(f"| {meaning} | {count} |\n" for meaning, count in rows.items())
