"""The README beside the training files: what made them, and how to load them."""

import json
import re
from collections.abc import Mapping
from typing import Any

from hnmine.encoders import HASH_WARNING
from hnmine.stage import RunContext
from hnmine.store import write_text

LOSSES = {
    "triplet": "MultipleNegativesRankingLoss, TripletLoss",
    "n-tuple": "MultipleNegativesRankingLoss, CachedMultipleNegativesRankingLoss",
    "n-tuple-scores": "MarginMSELoss (column `scores`: positive first)",
    "labeled-pair": "a cross-encoder's BinaryCrossEntropyLoss",
    "labeled-list": "a cross-encoder's LambdaLoss and other list losses",
    "bge": "FlagEmbedding's trainers",
}


def write_card(context: RunContext, counts: Mapping[str, Any]) -> None:
    """Write emit/README.md; its front matter lets `datasets.load_dataset` find the files."""
    write_text(card(context, counts), context.folder("emit") / "README.md")


def card(context: RunContext, counts: Mapping[str, Any]) -> str:
    """Return the card's text, the same for the same run."""
    config = context.config
    ending, builder = ("jsonl", "json") if config.emit.format == "bge" else ("parquet", "parquet")
    settings = {name: getattr(config, name).semantic() for name in ("embed", "index", "retrieve", "filter", "emit")}
    warning = f"\n> **Warning:** {HASH_WARNING}.\n" if config.uses_hash else ""
    # a fence longer than any run of backticks inside: a model's name is data, and data never becomes markup
    settings_text = json.dumps({"seed": config.seed, **settings}, indent=2, sort_keys=True, ensure_ascii=False)
    fence = "`" * (max((len(run) for run in _backticks(settings_text)), default=2) + 3)
    return f"""---
configs:
- config_name: default
  data_files: "part-*.{ending}"
---
# Mined training data
{warning}
Rows of shape `{config.emit.format}`, for {LOSSES[config.emit.format]}.

    from datasets import load_dataset
    rows = load_dataset("{builder}", data_files="part-*.{ending}", split="train")

| what | count |
|---|---|
| rows | {counts["rows"]:,} |
| examples (query, anchor) | {counts["examples"]:,} |
| with all negatives wanted | {counts["examples_full"]:,} |
| with fewer | {counts["examples_short"]:,} |
| without any | {counts["examples_without_negatives"]:,} |
| negatives | {counts["negatives"]:,} of {counts["negatives_wanted"]:,} wanted |

Extra columns are for people and filters: leave them out before training, since a trainer takes every column as text.

## What made it

{fence}json
{settings_text}
{fence}

The input files, the teacher's fingerprint and the content keys stand in the `_manifest.json` of each stage.
"""


def _backticks(text: str) -> list[str]:
    return re.findall("`+", text)
