"""Judgement files (`input.judgements`), applied on top of the qrels; contradictions become problems."""

from dataclasses import dataclass, field

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import InputConfig
from hnmine.errors import Problems
from hnmine.readers.judgements import EMPTY, IRRELEVANT, RELEVANT, UNSURE, FileJudgement
from hnmine.stages.ingest.labels import list_rows

NO_ROW = -1


@dataclass(frozen=True)
class InputIds:
    """The ids of the input.

    Attributes:
        queries: row of each query id.
        documents: row of each document id; copies of one text share a row, and a document without text has `NO_ROW`.
    """

    queries: dict[str, int] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)

    def unknown(self, query_id: str, doc_id: str) -> dict[str, str]:
        """Return those of the two ids that are not in the input, by kind: query, document."""
        found = {} if query_id in self.queries else {"query": query_id}
        return found if doc_id in self.documents else found | {"document": doc_id}


@dataclass
class FileJudgements:
    """Collects the judgements of all judgement files; unknown ids and pairs judged both ways become problems.

    Attributes:
        config: the input table.
        ids: ids of the input.
        answers: for each query row, the answer about each document row; those not filled in or skipped are left out.
        skipped: (query_id and doc_id, reason) of judgements that name unknown ids.
        counts: number of lines by judgement.
    """

    config: InputConfig
    ids: InputIds
    answers: dict[int, dict[int, FileJudgement]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((RELEVANT, IRRELEVANT, UNSURE, EMPTY), 0))

    def add(self, answer: FileJudgement, problems: Problems, *, check_ids: bool) -> None:
        """Add a line; an unsure judgement yields to a sure one of the same pair.

        Contradictions become problems; unknown ids too where `input.unknown_ids` = error and with `check_ids`, which is
        False where they may follow from an unreadable input.
        """
        self.counts[answer.judgement] += 1
        unknown = self.ids.unknown(answer.query_id, answer.doc_id)
        if unknown:
            self.skipped.append((f"{answer.query_id} {answer.doc_id}", f"unknown {next(iter(unknown))}"))
            if self.config.unknown_ids == "error" and check_ids:
                problems.add(
                    f"{answer.location}: {' and '.join(f'{kind} {id_!r}' for kind, id_ in unknown.items())} not in the "
                    'input; set input.unknown_ids = "skip" to leave such judgements out'
                )
            return
        document = self.ids.documents[answer.doc_id]
        if answer.judgement == EMPTY or document == NO_ROW:
            return
        own = self.answers.setdefault(self.ids.queries[answer.query_id], {})
        before = own.get(document)
        if before is None or before.judgement == UNSURE:
            own[document] = answer
        elif answer.judgement not in (before.judgement, UNSURE):
            copy = "" if before.doc_id == answer.doc_id else f", whose text is that of document {before.doc_id!r}"
            problems.add(
                f"{answer.location}: query {answer.query_id!r} and document {answer.doc_id!r}{copy}: judged "
                f"{answer.judgement} here and {before.judgement} in {before.location}; keep one of the two"
            )

    def lists(self, judgement: str, queries: int) -> Ragged:
        """Return the document rows that got this judgement for each of so many query rows, ascending."""
        found: list[list[int]] = [[] for _ in range(queries)]
        for query, own in self.answers.items():
            found[query] = sorted(document for document, answer in own.items() if answer.judgement == judgement)
        return list_rows(found)

    def apply(self, qrels: list[dict[int, int]], problems: Problems) -> None:
        """Apply the judgements to the qrels of each query row, in place.

        Irrelevant documents become judged negatives; that the qrels call one relevant is a problem. Relevant ones
        become positives with `input.judged_positives`; without it they are only removed from the judged negatives.
        """
        relevant_from = self.config.relevant_from
        for query, answers in self.answers.items():
            own = qrels[query]
            for document, answer in answers.items():
                level = own.get(document)
                if answer.judgement == IRRELEVANT:
                    if own.setdefault(document, relevant_from - 1) >= relevant_from:
                        problems.add(
                            f"{answer.location}: query {answer.query_id!r} and document {answer.doc_id!r}: judged "
                            f"irrelevant, but the qrels call it relevant ({level}); correct either"
                        )
                elif answer.judgement == RELEVANT and self.config.judged_positives:
                    own[document] = max(relevant_from, own.get(document, relevant_from))
                elif answer.judgement == RELEVANT and level is not None and level < relevant_from:
                    del own[document]
