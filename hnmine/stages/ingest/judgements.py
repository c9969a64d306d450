"""Judgement files (`input.judgements`), applied on top of the qrels; contradictions become problems."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from hnmine.errors import Problems
from hnmine.readers.judgements import EMPTY, IRRELEVANT, RELEVANT, UNSURE, FileJudgement


@dataclass(frozen=True)
class InputIds:
    """The ids of the input.

    Attributes:
        queries: row of each query id.
        documents: row of each document id that has a text; copies of one text share a row.
        empty: ids of documents without text.
    """

    queries: Mapping[str, int]
    documents: Mapping[str, int]
    empty: Set[str]

    def unknown(self, query_id: str, doc_id: str) -> dict[str, str]:
        """Return those of the two ids that are not in the input, by kind: query, document."""
        found = {} if query_id in self.queries else {"query": query_id}
        known = doc_id in self.documents or doc_id in self.empty
        return found if known else found | {"document": doc_id}


@dataclass
class FileJudgements:
    """The judgements of all judgement files.

    Attributes:
        answers: for each query row, the answer about each document row; those not filled in or skipped are left out.
        skipped: (query_id and doc_id, reason) of judgements that name unknown ids.
        counts: number of lines by judgement, and of those skipped.
    """

    answers: dict[int, dict[int, FileJudgement]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def rows(self, query: int, judgement: str) -> set[int]:
        """Return the document rows that got this judgement for a query row."""
        return {document for document, answer in self.answers.get(query, {}).items() if answer.judgement == judgement}

    def apply(self, query: int, qrels: dict[int, int], relevant_from: int, positives: bool) -> None:
        """Apply the judgements of a query to its qrels, in place.

        Args:
            query: the query's row.
            qrels: relevance of each judged document row.
            relevant_from: lowest relevance of a positive.
            positives: whether documents judged relevant become positives; otherwise they are only removed from the
                judged negatives.
        """
        for document in self.rows(query, IRRELEVANT):
            qrels.setdefault(document, relevant_from - 1)
        for document in self.rows(query, RELEVANT):
            if positives:
                qrels[document] = max(relevant_from, qrels.get(document, relevant_from))
            elif qrels.get(document, relevant_from) < relevant_from:
                del qrels[document]


def collect_judgements(
    answers: Iterable[FileJudgement], ids: InputIds, unknown_ids: str, problems: Problems
) -> FileJudgements:
    """Return the judgements of all files; unknown ids and pairs judged both ways become problems.

    An unsure judgement yields to a sure one of the same pair.

    Args:
        answers: the lines of all files.
        ids: the ids of the input.
        unknown_ids: `input.unknown_ids`: error or skip.
        problems: if it already has some, unknown ids are not added, since they may be a consequence.
    """
    counts = dict.fromkeys((RELEVANT, IRRELEVANT, UNSURE, "empty"), 0)
    found, unreadable = FileJudgements(), bool(problems.messages)
    for answer in answers:
        counts["empty" if answer.judgement == EMPTY else answer.judgement] += 1
        unknown = ids.unknown(answer.query_id, answer.doc_id)
        if unknown:
            found.skipped.append((f"{answer.query_id} {answer.doc_id}", f"unknown {next(iter(unknown))}"))
            if unknown_ids == "error" and not unreadable:
                problems.add(
                    f"{answer.location}: {' and '.join(f'{kind} {id_!r}' for kind, id_ in unknown.items())} not in the "
                    'input; set input.unknown_ids = "skip" to leave such judgements out'
                )
        elif answer.judgement != EMPTY and answer.doc_id in ids.documents:
            _add(found, answer, ids, problems)
    found.counts = {f"file_judgements_{name}": count for name, count in counts.items()}
    found.counts["file_judgements_skipped"] = len(found.skipped)
    return found


def _add(found: FileJudgements, answer: FileJudgement, ids: InputIds, problems: Problems) -> None:
    own = found.answers.setdefault(ids.queries[answer.query_id], {})
    document = ids.documents[answer.doc_id]
    before = own.get(document)
    if before is None or before.judgement == UNSURE:
        own[document] = answer
    elif answer.judgement not in (before.judgement, UNSURE):
        copy = "" if before.doc_id == answer.doc_id else f", whose text is that of document {before.doc_id!r}"
        problems.add(
            f"{answer.location}: query {answer.query_id!r} and document {answer.doc_id!r}{copy}: judged "
            f"{answer.judgement} here and {before.judgement} in {before.location}; keep one of the two"
        )


def contradictions(found: FileJudgements, qrels: Mapping[int, dict[int, int]], relevant_from: int) -> list[str]:
    """Return a message for each document that the qrels call relevant and a judgement irrelevant."""
    return [
        f"{answer.location}: query {answer.query_id!r} and document {answer.doc_id!r}: judged irrelevant, but "
        f"the qrels call it relevant ({qrels[query][document]}); correct either"
        for query, own in found.answers.items()
        for document, answer in own.items()
        if answer.judgement == IRRELEVANT and qrels[query].get(document, relevant_from - 1) >= relevant_from
    ]
