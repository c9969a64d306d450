"""The table `[input]`: the user's files and their columns."""

from typing import Literal

from pydantic import Field

from hnmine.config.base import Name, Paths, Section, setting


class Columns(Section):
    """The user's column names, where they differ from the usual ones."""

    doc_id: Name | None = setting(None, "corpus and qrels: the document's id")
    text: Name | None = setting(None, "corpus: the document's text")
    title: Name | None = setting(None, "corpus: the document's title, put before its text")
    query_id: Name | None = setting(None, "queries and qrels: the query's id")
    query: Name | None = setting(None, "queries: the query's text")
    relevance: Name | None = setting(None, "qrels: the judged relevance")
    anchor: Name | None = setting(None, "pairs: the query's text")
    positive: Name | None = setting(None, "pairs: the positive's text, or a list of texts")
    split: Name | None = setting(None, "qrels: the column that `input.split` is looked up in")


class InputConfig(Section):
    """The user's files: `corpus`, `queries` and `qrels`; or a `beir` folder; or `pairs`."""

    corpus: Paths | None = setting(None, "documents: file, folder, glob, URL, or a list of them", no_effect=True)
    queries: Paths | None = setting(None, "queries: likewise", no_effect=True)
    qrels: Paths | None = setting(None, "judgements: a table, or the TREC format", no_effect=True)
    beir: Name | None = setting(None, "a BEIR folder: corpus.jsonl, queries.jsonl, qrels/*.tsv", no_effect=True)
    pairs: Paths | None = setting(None, "one table of (anchor, positive) texts", no_effect=True)
    judgements: Paths | None = setting(None, "files of `hnmine export-judgements`, filled in", no_effect=True)
    judged_positives: bool = setting(False, "judgements that say relevant make a positive to train on")
    split: Name | None = setting(None, "use only this split of the qrels (BEIR: train where there is one)")
    relevant_from: int = setting(1, "lowest relevance that counts as positive")
    unknown_ids: Literal["error", "skip"] = setting("error", "judgements that name an unknown query or document")
    quoting: bool | None = setting(
        None,
        "whether double quotes enclose fields (default: yes in .csv, no in .tsv, as BEIR and MS MARCO write it)",
    )
    columns: Columns = Field(default_factory=Columns, description="column names, only where they differ")
