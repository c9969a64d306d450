"""Judgements of single candidates, put on top of the qrels: what they add, and where they contradict."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from hnmine.errors import Problems
from hnmine.readers.answers import EMPTY, IRRELEVANT, RELEVANT, UNSURE, Answer


@dataclass(frozen=True)
class Known:
    """The ids of the input.

    Attributes:
        queries: row of each query id.
        documents: row of each document id that has a text; copies of one text share a row.
        empty: ids of documents without text.
    """

    queries: Mapping[str, int]
    documents: Mapping[str, int]
    empty: Set[str]


@dataclass
class Feedback:
    """What judgement files say, by rows.

    Attributes:
        said: for each query row, what was said of each document row, and where; not filled in and skipped left out.
        skipped: (query_id and doc_id, reason) of judgements that name unknown ids.
        counts: how many lines said what.
    """

    said: dict[int, dict[int, Answer]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def rows(self, query: int, judgement: str) -> set[int]:
        """Return the rows of a query of which this was said."""
        return {document for document, answer in self.said.get(query, {}).items() if answer.judgement == judgement}

    def merge(self, query: int, judged: dict[int, int], relevant_from: int, positives: bool) -> None:
        """Add what was said of a query's documents to its qrels, in place.

        Irrelevant documents become judged negatives. Relevant ones become positives where `positives` is true;
        otherwise they only cease to be judged negatives.
        """
        for document in self.rows(query, IRRELEVANT):
            judged.setdefault(document, relevant_from - 1)
        for document in self.rows(query, RELEVANT):
            if positives:
                judged[document] = max(relevant_from, judged.get(document, relevant_from))
            elif judged.get(document, relevant_from) < relevant_from:
                del judged[document]


def collect(answers: Iterable[Answer], known: Known, unknown_ids: str, problems: Problems) -> Feedback:
    """Return what judgement files say; ids that are not in the input and pairs judged both ways become problems.

    An unsure judgement gives way to one that is sure.

    Args:
        answers: the lines of all files.
        known: the ids of the input.
        unknown_ids: `input.unknown_ids`: error or skip.
        problems: where there are some already, an id that is not known proves nothing, and is no further one.
    """
    names = {RELEVANT: "relevant", IRRELEVANT: "irrelevant", UNSURE: "unsure", EMPTY: "empty"}
    counts = dict.fromkeys(names.values(), 0)
    found, unreadable = Feedback(), bool(problems.messages)
    for answer in answers:
        counts[names[answer.judgement]] += 1
        kinds = [kind for kind, there in _there(answer, known).items() if not there]
        if kinds:
            found.skipped.append((f"{answer.query_id} {answer.doc_id}", f"unknown {kinds[0]}"))
            if unknown_ids == "error" and not unreadable:
                ids = {"query": answer.query_id, "document": answer.doc_id}
                problems.add(
                    f"{answer.place}: {' and '.join(f'{kind} {ids[kind]!r}' for kind in kinds)} not in the input; "
                    'set input.unknown_ids = "skip" to leave such judgements out'
                )
        elif answer.judgement != EMPTY and answer.doc_id in known.documents:
            _add(found, answer, known, problems)
    found.counts = {f"file_judgements_{name}": count for name, count in counts.items()}
    found.counts["file_judgements_skipped"] = len(found.skipped)
    return found


def _there(answer: Answer, known: Known) -> dict[str, bool]:
    document = answer.doc_id in known.documents or answer.doc_id in known.empty
    return {"query": answer.query_id in known.queries, "document": document}


def _add(found: Feedback, answer: Answer, known: Known, problems: Problems) -> None:
    own = found.said.setdefault(known.queries[answer.query_id], {})
    document = known.documents[answer.doc_id]
    before = own.get(document)
    if before is None or before.judgement == UNSURE:
        own[document] = answer
    elif answer.judgement not in (before.judgement, UNSURE):
        copy = "" if before.doc_id == answer.doc_id else f", whose text is that of document {before.doc_id!r}"
        problems.add(
            f"{answer.place}: query {answer.query_id!r} and document {answer.doc_id!r}{copy}: judged "
            f"{answer.judgement} here and {before.judgement} in {before.place}; keep one of the two"
        )


def contradictions(found: Feedback, qrels: Mapping[int, dict[int, int]], relevant_from: int) -> list[str]:
    """Return a message for each document that qrels call relevant and a judgement irrelevant."""
    return [
        f"{answer.place}: query {answer.query_id!r} and document {answer.doc_id!r}: judged irrelevant, but the qrels "
        f"call it relevant ({qrels[query][document]}); correct either"
        for query, own in found.said.items()
        for document, answer in own.items()
        if answer.judgement == IRRELEVANT and qrels[query].get(document, relevant_from - 1) >= relevant_from
    ]
