"""Which candidates of a run a judge is asked about, in which requests, and in what order."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import in_sorted, ranges, rank_in_group
from hnmine.arrays.random_numbers import random_numbers
from hnmine.commands.export_judgements import POSITIVES, QUEUE, ExportOptions, judging_queue, sampled_negatives
from hnmine.commands.judge.questions import Candidate, Question, Texts, make_question
from hnmine.commands.judge.replies import Answers
from hnmine.config.models import JudgeTable
from hnmine.errors import InputError, few
from hnmine.readers.judge_lines import CHOSEN, VALUE, JudgeLine
from hnmine.readers.judgements import RELEVANT
from hnmine.runtime.stage import RunContext
from hnmine.science.judging_value import order_of_requests
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.negative_pairs import negative_pairs
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards

FIRST_READ, MOST_READ = 64, 2048
"""Requests whose texts are read together: at first, and at most; their number doubles each time."""


@dataclass(frozen=True)
class Selection:
    """Requests about candidates of a run, in their order; texts are read when requests are made.

    Attributes:
        context: of the run.
        judge: the judge's table.
        model: its name in requests.
        queue: the candidates (`QUEUE`), request after request, in the order in which the judge sees them.
        starts: int64, shape (requests + 1,): request i has the candidates starts[i] to starts[i + 1] - 1.
        fields: what the line of each candidate's judgement has besides; None for nothing.
    """

    context: RunContext
    judge: JudgeTable
    model: str
    queue: np.ndarray
    starts: np.ndarray
    fields: Sequence[dict[str, Any]] | None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def questions(self, places: np.ndarray | None = None, answers: Answers | None = None) -> Iterator[Question]:
        """Yield the requests, or those at some places (int64), in their order.

        With `answers`, candidates that have one are left out, and with them requests that ask about no other.
        """
        every, size, first = np.arange(len(self)) if places is None else places, FIRST_READ, 0
        while first < len(every):
            for texts in self._texts(every[first : first + size]):
                question = make_question(texts, self.judge, self.model)
                if answers is not None:
                    left = [not answers.has(one.key) for one in question.candidates]
                    if not any(left):
                        continue
                    if not all(left):
                        rest = [one for one, is_left in zip(texts.candidates, left, strict=True) if is_left]
                        question = make_question(replace(texts, candidates=rest), self.judge, self.model)
                yield question
            first, size = first + size, min(2 * size, MOST_READ)

    def about(self, query_ids: Collection[str]) -> np.ndarray:
        """Return the places of the requests about some queries, int64, ascending."""
        rows = _rows_of(self._shards("queries"), "query_id", query_ids)
        of_requests = self.queue["query"][self.starts[:-1]]
        return np.flatnonzero(np.isin(of_requests, list(rows.values())))

    def lacks(self, pairs: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return those of some (query id, document id) that are in no request, in their order."""
        queries = _rows_of(self._shards("queries"), "query_id", {pair[0] for pair in pairs})
        documents = _rows_of(self._shards("corpus"), "doc_id", {pair[1] for pair in pairs})
        known = [pair for pair in pairs if pair[0] in queries and pair[1] in documents]
        rows = np.array([(queries[query], documents[document]) for query, document in known]).reshape(-1, 2)
        own = {pair for pair, found in zip(known, self._contain(rows), strict=True) if found}
        return [pair for pair in pairs if pair not in own]

    def _contain(self, pairs: np.ndarray) -> np.ndarray:
        """Return whether each pair of query and document row, int64, shape (n, 2), is in a request."""
        span = int(self.queue["document"].max(initial=0)) + 1
        own = np.sort(self.queue["query"] * span + self.queue["document"])
        return in_sorted(pairs[:, 0] * span + pairs[:, 1], own) & (pairs[:, 1] < span)

    def _shards(self, name: str) -> Shards:
        return Shards(self.context.reading("ingest") / name, {"corpus": CORPUS, "queries": QUERIES}[name])

    def _texts(self, places: np.ndarray) -> Iterator[Texts]:
        """Yield what the requests at some places are about."""
        counts = self.starts[places + 1] - self.starts[places]
        at = ranges(self.starts[places], counts)
        own = self.queue[at]
        rows = own["query"][np.cumsum(counts) - counts]
        queries = self._shards("queries").take(rows, ["query_id", "text", "positive_rows"]).to_pylist()
        positives = [row for query in queries for row in query["positive_rows"][:POSITIVES]]
        needed = np.concatenate([own["document"], np.array(positives, dtype=np.int64)])
        documents = iter(self._shards("corpus").take(needed, ["doc_id", "text"]).to_pylist())
        candidates = iter([self._candidate(place, next(documents)) for place in at.tolist()])
        for query, count in zip(queries, counts.tolist(), strict=True):
            shown = [next(documents)["text"] for _ in query["positive_rows"][:POSITIVES]]
            yield Texts(query["query_id"], query["text"], shown, [next(candidates) for _ in range(count)])

    def _candidate(self, place: int, document: Mapping[str, str]) -> Candidate:
        one = self.queue[place]
        known = {} if np.isnan(one["value"]) else {VALUE: round(float(one["value"]), 6)}
        more = {} if self.fields is None else self.fields[place]
        return Candidate(document["doc_id"], document["text"], {CHOSEN: bool(one["chosen"]), **known, **more})


def select(context: RunContext, options: ExportOptions, judge: JudgeTable, model: str) -> Selection:
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
        return _selection(context, queue, fields, judge, model)
    return _selection(context, judging_queue(context, options), None, judge, model)


def select_again(
    context: RunContext, first: Mapping[tuple[str, str], JudgeLine], judge: JudgeTable, model: str
) -> Selection:
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
    return _selection(context, queue, None, judge, model)


def _rows_of(shards: Shards, column: str, names: Collection[str]) -> dict[str, int]:
    """Return the row of each name that a column has."""
    wanted, found = pa.array(sorted(names), shards.schema.field(column).type), dict[str, int]()
    for number in range(len(shards)) if names else ():
        own = shards.read(number, [column]).column(0)
        at = np.flatnonzero(pc.is_in(own, value_set=wanted).to_numpy())
        found |= zip(own.take(pa.array(at)).to_pylist(), (at + shards.offsets[number]).tolist(), strict=True)
    return found


def _selection(
    context: RunContext,
    queue: np.ndarray,
    fields: Sequence[dict[str, Any]] | None,
    judge: JudgeTable,
    model: str,
) -> Selection:
    """Return the requests about some candidates (`QUEUE`), whose judgements get `fields` besides their own."""
    queries, documents = queue["query"], queue["document"]
    part = rank_in_group(queries) // judge.candidates
    codes = queries * (int(part.max(initial=0)) + 1) + part
    _, firsts, request = np.unique(codes, return_index=True, return_inverse=True)
    request = np.argsort(np.argsort(firsts))[request]  # numbered as they occur
    valued = fields is None and not np.isnan(queue["value"]).any()
    if valued:
        order = order_of_requests(queue["value"], request)
        request = np.argsort(order)[request]  # numbered in this order
    seeds = random_numbers(np.full(len(queue), context.config.seed, dtype=np.uint64), queries)
    shuffled = np.lexsort((random_numbers(seeds, documents), request))
    queue, starts = queue[shuffled], np.concatenate([[0], np.cumsum(np.bincount(request))])
    negatives = negative_pairs(read_chosen(context.reading("emit")))
    span = int(max(queue["document"].max(initial=0), negatives[1].max(initial=0))) + 1
    queue["chosen"] = in_sorted(queue["query"] * span + queue["document"], negatives[0] * span + negatives[1])
    ordered = None if fields is None else [fields[place] for place in shuffled]
    return Selection(context, judge, model, queue, starts, ordered)
