"""Helpers of many tests: small collections on disk, configs for them, and the content of output folders."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hnmine.config.file import check_config
from hnmine.config.tables import Config

ROOT = Path(__file__).parents[1]
"""The checkout."""

WORDS = (
    "amber", "basalt", "cobalt", "delta", "ember", "fjord", "garnet", "harbor", "indigo", "jasper",
    "kelp", "lagoon", "marble", "nectar", "opal", "pebble", "quartz", "reef", "sand", "tide",
    "umber", "violet", "willow", "xenon", "yarrow", "zinc", "anchor", "beacon", "cliff", "dune",
)  # fmt: skip


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_collection(
    folder: Path,
    corpus: dict[str, str],
    queries: dict[str, str],
    qrels: Sequence[tuple[str, str, int]],
) -> Path:
    """Write corpus.jsonl, queries.jsonl and qrels.tsv, and return the folder."""
    write_jsonl(folder / "corpus.jsonl", ({"doc_id": d, "text": t} for d, t in corpus.items()))
    write_jsonl(folder / "queries.jsonl", ({"query_id": q, "text": t} for q, t in queries.items()))
    lines = ["query_id\tdoc_id\trelevance", *(f"{q}\t{d}\t{r}" for q, d, r in qrels)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_collection(folder: Path, documents: int = 60, queries: int = 20) -> Path:
    """Write a collection of made-up texts: query i shares words with documents i, i + 1 and others.

    Positives are ragged: one, two, one, two, ... a query.
    """
    corpus = {
        f"d{i}": " ".join(WORDS[(i * step + step) % len(WORDS)] for step in range(1, 9)) + f" {i}"
        for i in range(documents)
    }
    asked = {
        f"q{i}": " ".join(WORDS[(i * step + step) % len(WORDS)] for step in range(1, 5)) + f" {i}"
        for i in range(queries)
    }
    qrels = [(f"q{i}", f"d{(i + j) % documents}", 1) for i in range(queries) for j in range(1 + i % 2)]
    return write_collection(folder, corpus, asked, qrels)


def config_for(folder: Path, out: Path | str = "out", **tables: Any) -> Config:
    """Return a config for a collection written here, with the hash encoder; tables override theirs key by key.

    `config_for(folder, filter={"rule": "margin"}, seed=3)`. Without report.html, which takes longer than all the rest.
    """
    raw: dict[str, Any] = {
        "out": str(out),
        "input": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"},
        "embed": {"model": "hash"},
        "retrieve": {"top_k": 10},
        "filter": {"rule": "percent"},
        "emit": {"num_negatives": 3},
        "report": {"html": False},
    }
    for name, value in tables.items():
        raw[name] = {**raw.get(name, {}), **value} if isinstance(value, dict) else value
    return check_config(raw, "test config", folder)


def with_page(folder: Path, out: Path | str = "out", **tables: Any) -> Config:
    """Return what `config_for` does, with report.html."""
    return config_for(folder, out, **{**tables, "report": {"html": True}})


RUN_SPECIFIC = (".lock", ".digests.json", "timings.json")
"""Files of a run with wall-clock times or stamps of input files."""


_RUN_LINE = re.compile(r'^<dl class="facts" id="run">.*$', re.MULTILINE)


def without_run_line(page: str) -> str:
    """Return report.html without its line with the run's folder, config file, teacher and time."""
    assert len(_RUN_LINE.findall(page)) == 1
    return _RUN_LINE.sub("", page)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder that must be equal from run to run, see `comparable`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return comparable((path.relative_to(folder).as_posix(), path.read_bytes()) for path in files)


def comparable(files: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """Return the content of a run's files by name, without lock, input digests, times and names of folders."""
    found = {}
    for name, content in files:
        if name in RUN_SPECIFIC:
            continue
        if name == "report/report.json":
            report = json.loads(content)
            del report["timings"]
            content = json.dumps(report, sort_keys=True).encode()
        if name == "report/report.html":
            content = without_run_line(content.decode()).encode()
        found[name] = content
    return found
