"""The README beside the training files: their counts, the settings that they were made with, and how to load them."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from hnmine.config.tables import EmitConfig
from hnmine.models.cross_encoders import HASH_RESCORE_WARNING
from hnmine.models.model_files import HASH_WARNING
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.formats import ending, format_folders
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
    settings_text = json.dumps({"seed": config.seed, **settings}, indent=2, sort_keys=True, ensure_ascii=False)
    fence = "`" * (max((len(run) for run in re.findall("`+", settings_text)), default=2) + 3)
    text = f"""---
configs:
{formats.front_matter}---
# Mined training data
{warning}
{formats.text}
| what | count |
|---|---|
{_count_rows(counts)}
{_order_and_weights(config.emit)}Remove extra columns before training: a trainer takes every column as text.

## Settings

{fence}json
{settings_text}
{fence}

The input files, the teacher's fingerprint and the content keys are in the `_manifest.json` of each stage.
"""
    write_text(text, context.folder("emit") / "README.md")


def _order_and_weights(emit: EmitConfig) -> str:
    """Return what a trainer must know of the order of the rows and of their weights; "" where there is nothing."""
    text = ""
    if emit.order != "by_query":
        first, last = ("easiest", "hardest") if emit.order == "easy_to_hard" else ("hardest", "easiest")
        text += (
            f"The rows are ordered from the {first} example to the {last}: **the trainer must not shuffle them**. "
            "sentence-transformers shuffles unless its argument `batch_sampler` names a sampler that does not, such as "
            "`DefaultBatchSampler(range(len(rows)), batch_size=64, drop_last=False)` from a callable.\n\n"
        )
    if "focal_weight" in emit.extra_columns:
        text += "`focal_weight` multiplies the loss of its example; most losses take no weights by themselves.\n\n"
    if "cluster_weight" in emit.extra_columns:
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
    front_matter = "".join(
        f'- config_name: {name if len(names) > 1 else "default"}\n  data_files: "{files[name]}"\n' for name in in_card
    )
    load = "".join(
        f'    rows = load_dataset("{"json" if ending(name) == "jsonl" else "parquet"}", '
        f'data_files="{files[name]}", split="train")\n'
        for name in names
    )
    tables = {
        table: str(folder / table / "part-*.parquet")
        for folder in text_folders(PurePosixPath(), emit)
        for table in TEXT_TABLES
    }
    prefix = "distillation-" if len(names) > 1 else ""
    front_matter += "".join(f'- config_name: {prefix}{name}\n  data_files: "{path}"\n' for name, path in tables.items())
    load += "".join(
        f'    {name} = load_dataset("parquet", data_files="{path}", split="train")  # {counts["texts"][name]:,}\n'
        for name, path in tables.items()
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


def _count_rows(counts: Mapping[str, Any]) -> str:
    """Return the rows of the table of counts; rows on suspected positives only where their count is not 0."""
    meanings = {
        "rows": "rows, of all formats" if len(counts.get("formats", {})) > 1 else "rows",
        "examples": "examples (query, anchor)",
        "examples_full": "with all negatives wanted",
        "examples_short": "with fewer",
        "examples_without_negatives": "without any",
        "negatives_wanted": "negatives wanted",
        "negatives": "negatives",
        "negatives_random": "of which random documents",
        "negatives_filled_up": "of which fill up rows with too few kept candidates",
        "negatives_previous": "of which kept from the previous run (`[previous]`)",
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
    return "".join(f"| {meanings[name]} | {counts[name]:,} |\n" for name in named)
