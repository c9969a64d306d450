"""Which candidates of a run a judge is asked about, and in what order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hnmine.arrays.groups import rank_in_group
from hnmine.arrays.random_numbers import random_numbers
from hnmine.commands.export_judgements import POSITIVES, QUEUE, ExportOptions, judging_queue, sampled_negatives
from hnmine.commands.judge.questions import Candidate, Question, Texts, make_question
from hnmine.config.models import JudgeTable
from hnmine.errors import InputError, few
from hnmine.readers.judge_lines import JudgeLine
from hnmine.readers.judgements import RELEVANT
from hnmine.runtime.stage import RunContext
from hnmine.science.judging_value import order_of_requests
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.negative_pairs import negative_pairs
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards


def select(context: RunContext, options: ExportOptions, judge: JudgeTable, model: str) -> list[Question]:
    """Return the requests about a run's candidates, those with the highest judging values first.

    A random sample is asked about in its own order.

    Args:
        context: of a finished run.
        options: what is asked about.
        judge: the judge's table.
        model: its name in requests.
    """
    if options.sample:
        queue, fields = sampled_negatives(context, options)
    else:
        queue = judging_queue(context, options)
        fields = [{}] * len(queue)
    return _questions(context, queue, fields, judge, model)


def select_again(
    context: RunContext, first: Mapping[tuple[str, str], JudgeLine], judge: JudgeTable, model: str
) -> list[Question]:
    """Return the requests about what a first judge called relevant, in the same order as in `select`.

    Raises:
        InputError: the run lacks a query or document.
    """
    lines = [line for line in first.values() if line.judgement == RELEVANT]
    ingest = context.reading("ingest")
    rows = {
        name: _rows_of(Shards(ingest / folder, schema), name, {getattr(line, name) for line in lines})
        for folder, schema, name in (("queries", QUERIES, "query_id"), ("corpus", CORPUS, "doc_id"))
    }
    missing = [
        repr(getattr(line, name)) for name, found in rows.items() for line in lines if getattr(line, name) not in found
    ]
    if missing:
        raise InputError(f"{context.out}: the run lacks what the first judge was asked about: {few(missing)}")
    queue = np.zeros(len(lines), dtype=QUEUE)
    queue["query"] = [rows["query_id"][line.query_id] for line in lines]
    queue["document"] = [rows["doc_id"][line.doc_id] for line in lines]
    queue["value"] = [line.value for line in lines]
    queue["probability"] = np.nan
    return _questions(context, queue, [{}] * len(queue), judge, model)


def _rows_of(shards: Shards, column: str, names: set[str]) -> dict[str, int]:
    return {name: row for row, name in enumerate(shards.column(column).to_pylist()) if name in names}


def _questions(
    context: RunContext, queue: np.ndarray, fields: Sequence[dict[str, Any]], judge: JudgeTable, model: str
) -> list[Question]:
    """Return the requests about some candidates (`QUEUE`), whose judgements get `fields` besides their own."""
    if not len(queue):
        return []
    queries, documents = queue["query"], queue["document"]
    part = rank_in_group(queries) // judge.candidates
    _, firsts, request = np.unique(np.stack([queries, part]), axis=1, return_index=True, return_inverse=True)
    request = np.argsort(np.argsort(firsts))[request.reshape(-1)]  # numbered as they occur
    sampled = np.isnan(queue["value"]).any() or any(fields)
    order = np.unique(request) if sampled else order_of_requests(queue["value"], request)
    seeds = random_numbers(np.full(len(queue), context.config.seed, dtype=np.uint64), queries)
    shuffled = np.lexsort((random_numbers(seeds, documents), request))
    starts = np.searchsorted(request[shuffled], np.arange(len(order) + 1))
    texts = _texts(context, queue, fields)
    return [
        make_question(_together([texts[at] for at in shuffled[starts[one] : starts[one + 1]]]), judge, model)
        for one in order
    ]


def _together(texts: list[Texts]) -> Texts:
    return replace(texts[0], candidates=[candidate for one in texts for candidate in one.candidates])


def _texts(context: RunContext, queue: np.ndarray, fields: Sequence[dict[str, Any]]) -> list[Texts]:
    """Return query, positives and document of each candidate."""
    ingest = context.reading("ingest")
    corpus, queries_of = Shards(ingest / "corpus", CORPUS), Shards(ingest / "queries", QUERIES)
    queries = queries_of.take(queue["query"], ["query_id", "text", "positive_rows"]).to_pylist()
    documents = corpus.take(queue["document"], ["doc_id", "text"]).to_pylist()
    rows = [row for query in queries for row in query["positive_rows"][:POSITIVES]]
    positives = iter(corpus.take(np.array(rows, dtype=np.int64), ["text"]).column(0).to_pylist())
    negatives = set(zip(*(own.tolist() for own in negative_pairs(read_chosen(context.reading("emit")))), strict=True))
    found = []
    for one, query, document, own in zip(queue, queries, documents, fields, strict=True):
        known = {} if np.isnan(one["value"]) else {"value": round(float(one["value"]), 6)}
        chosen = (int(one["query"]), int(one["document"])) in negatives
        candidate = Candidate(document["doc_id"], document["text"], {"chosen": chosen, **known, **own})
        shown = [next(positives) for _ in query["positive_rows"][:POSITIVES]]
        found.append(Texts(query["query_id"], query["text"], shown, [candidate]))
    return found
