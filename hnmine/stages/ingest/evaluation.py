"""The evaluation set of `input.eval_qrels` or `input.eval_split`: its queries and documents, with copies, by row."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hnmine.errors import Problems, few
from hnmine.readers.judgements import Qrel
from hnmine.stages.ingest.judgements import NO_ROW, InputIds
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.ingest import EVALUATION
from hnmine.storage.store import read_table

EVALUATION_FILE = "evaluation.parquet"


@dataclass
class EvaluationSet:
    """The rows of an evaluation set.

    Attributes:
        queries: rows of the input's queries that it judges, or that have the text of one.
        documents: int64, ascending: rows that are relevant to one of its queries, or have the text of such a document.
        unknown: its queries that are not in the input.
        judgements: number of lines that describe it.
    """

    queries: set[int] = field(default_factory=set)
    documents: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    unknown: set[str] = field(default_factory=set)
    judgements: int = 0

    @classmethod
    def read(
        cls,
        judged: Iterable[Qrel],
        ids: InputIds,
        keys: tuple[np.ndarray, np.ndarray],
        relevant_from: int,
        problems: Problems | None,
    ) -> "EvaluationSet":
        """Return the rows of the evaluation set that some qrels describe.

        Args:
            judged: its qrels.
            ids: the ids of the input.
            keys: text keys of all queries of the input and of all documents, uint64, by row.
            relevant_from: lowest relevance of a document of the set.
            problems: gets a problem if relevant documents are not in the input; None if that is no problem.
        """
        found, relevant, missing = cls(), set[int](), dict[str, Qrel]()
        for one in judged:
            found.judgements += 1
            if one.query_id in ids.queries:
                found.queries.add(ids.queries[one.query_id])
            else:
                found.unknown.add(one.query_id)
            if one.relevance < relevant_from:
                continue
            row = ids.documents.get(one.doc_id)
            if row is None:
                missing.setdefault(one.doc_id, one)
            elif row != NO_ROW:
                relevant.add(row)
        if missing and problems is not None:
            problems.add(
                f"{next(iter(missing.values())).location}: the evaluation set names {len(missing):,} relevant "
                f'documents that are not in the input ({few(list(missing))}); set input.unknown_ids = "skip" to leave '
                "them out"
            )
        of_queries, of_documents = keys
        found.queries = set(np.flatnonzero(np.isin(of_queries, of_queries[sorted(found.queries)])).tolist())
        found.documents = np.flatnonzero(np.isin(of_documents, of_documents[sorted(relevant)]))
        return found


def read_evaluation(ingest: Path) -> np.ndarray:
    """Return the rows of the corpus that belong to the evaluation set, int64, ascending; none without one."""
    path = ingest / EVALUATION_FILE
    if not path.exists():
        return np.zeros(0, dtype=np.int64)
    column = conform(read_table(path), EVALUATION, f"ingest/{EVALUATION_FILE}").column("doc_row")
    return np.asarray(column.to_numpy())
