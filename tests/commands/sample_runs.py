"""Runs of the sample collection with the hash encoder, and what is truly relevant in it."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

from hnmine.config.file import check_config
from hnmine.config.tables import Config
from tests.support import ROOT

SAMPLE = ROOT / "sample_data"


def sample_config(out: Path, **tables: Any) -> Config:
    """Return a config of the sample collection with the hash encoder."""
    raw: dict[str, Any] = {
        "out": str(out),
        "input": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"},
        "embed": {"model": "hash"},
        "report": {"html": False},
        "emit": {"extra_columns": ["query_id", "negative_id"]},
    }
    for name, value in tables.items():
        raw[name] = {**raw.get(name, {}), **value} if isinstance(value, dict) else value
    return check_config(raw, "sample", SAMPLE)


def sample_truth() -> dict[str, set[str]]:
    """Return what is truly relevant to each query of the sample, labelled or not."""
    found = defaultdict(set)
    with (SAMPLE / "truth.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found[row["query_id"]].add(row["doc_id"])
    return found
