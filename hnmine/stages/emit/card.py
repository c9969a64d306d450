"""The README beside the training files: their counts, the settings that they were made with, and how to load them."""

import json
import re
from collections.abc import Mapping
from typing import Any

from hnmine.models.cross_encoders import HASH_RESCORE_WARNING
from hnmine.models.model_files import HASH_WARNING
from hnmine.runtime.stage import RunContext
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.storage.store import write_text

LOSSES = {
    "triplet": "MultipleNegativesRankingLoss, TripletLoss",
    "n-tuple": "MultipleNegativesRankingLoss, CachedMultipleNegativesRankingLoss",
    "n-tuple-scores": "MarginMSELoss (column `scores`: positive first)",
    "labeled-pair": "a cross-encoder's BinaryCrossEntropyLoss",
    "labeled-list": "a cross-encoder's LambdaLoss and other list losses",
    "bge": "FlagEmbedding's trainers",
}
SOFT_LOSSES = {
    "labeled-pair": "a cross-encoder's BinaryCrossEntropyLoss or MSELoss (label: P(relevant), 1.0 for positives)",
    "labeled-list": "a cross-encoder's ListNetLoss, LambdaLoss and other losses of graded labels (P(relevant))",
}


def write_card(context: RunContext, counts: Mapping[str, Any]) -> None:
    """Write emit/README.md from the stage's counts. Its front matter lets `datasets.load_dataset` find the files."""
    config = context.config
    ending, builder = ("jsonl", "json") if config.emit.format == "bge" else ("parquet", "parquet")
    settings = {name: getattr(config, name).semantic() for name in ("embed", "index", "retrieve", "filter", "emit")}
    rescore = config.rescore if uses_rescored(config) or "rescore_score" in config.emit.extra_columns else None
    if rescore is not None:
        settings["rescore"] = rescore.semantic()
    if config.previous is not None:
        settings["previous"] = config.previous.part()
    warning = f"\n> **Warning:** {HASH_WARNING}.\n" if config.uses_hash else ""
    if rescore is not None and rescore.model == "hash":
        warning += f"\n> **Warning:** {HASH_RESCORE_WARNING}.\n"
    losses = SOFT_LOSSES if config.emit.soft_labels else LOSSES
    # the fence is longer than any run of backticks in the settings: a model's name must not become markup
    settings_text = json.dumps({"seed": config.seed, **settings}, indent=2, sort_keys=True, ensure_ascii=False)
    fence = "`" * (max((len(run) for run in re.findall("`+", settings_text)), default=2) + 3)
    text = f"""---
configs:
- config_name: default
  data_files: "part-*.{ending}"
---
# Mined training data
{warning}
Rows in the format `{config.emit.format}`, for {losses[config.emit.format]}.

    from datasets import load_dataset
    rows = load_dataset("{builder}", data_files="part-*.{ending}", split="train")

| what | count |
|---|---|
{_count_rows(counts)}
Remove extra columns before training: a trainer takes every column as text.

## Settings

{fence}json
{settings_text}
{fence}

The input files, the teacher's fingerprint and the content keys are in the `_manifest.json` of each stage.
"""
    write_text(text, context.folder("emit") / "README.md")


def _count_rows(counts: Mapping[str, Any]) -> str:
    """Return the rows of the table of counts; rows on suspected positives only where their count is not 0."""
    meanings = {
        "rows": "rows",
        "examples": "examples (query, anchor)",
        "examples_full": "with all negatives wanted",
        "examples_short": "with fewer",
        "examples_without_negatives": "without any",
        "negatives_wanted": "negatives wanted",
        "negatives": "negatives",
        "negatives_random": "of which random documents",
        "negatives_filled_up": "of which fill up rows with too few kept candidates",
        "negatives_previous": "of which kept from the previous run (`[previous]`)",
        "positives_left_out": "suspected positives left out",
        "queries_left_out": "queries left without a positive as a result",
        "positives_down_weighted": "suspected positives weighted down",
        "batches": "batches (column `batch_id`)",
        "batches_full": "of which full",
    }
    suspected = ("positives_left_out", "queries_left_out", "positives_down_weighted")
    named = [name for name in meanings if name in counts and (counts[name] or name not in suspected)]
    return "".join(f"| {meanings[name]} | {counts[name]:,} |\n" for name in named)
