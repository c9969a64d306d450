"""Row formats of the training files. Each turns the examples of a shard into the table that a trainer's loss takes.

An example is a (query, positive) pair with its negatives. Formats with a fixed number of negatives leave out examples
that have fewer; the others leave out examples without any.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged, list_array, single_array

PathT = TypeVar("PathT", bound=PurePath)
FULL_ONLY = ("n-tuple", "n-tuple-scores")
"""Formats that leave out examples with fewer negatives than wanted."""
OF_IDS = ("distillation",)
"""Formats whose rows hold ids; the texts are in tables beside them: see `hnmine.stages.emit.text_tables`."""
PER_NEGATIVE = (
    "negative_id", "negative_score", "rank", "rule", "source", "guide_score", "rescore_score",
    "p_false_negative", "weight", "cluster_weight",
)  # fmt: skip
"""Extra columns that have one value per negative; the others have one per example."""


def gets_rows(names: Sequence[str], lengths: np.ndarray, wanted: int) -> np.ndarray:
    """Return whether each example gets rows in any of the formats, bool, given its number of negatives (int64)."""
    return np.asarray(lengths == wanted if set(names) <= set(FULL_ONLY) else lengths > 0)


def format_folders(emit: PathT, names: Sequence[str]) -> dict[str, PathT]:
    """Return the folder of each format's files: the stage's own; with several formats one inside it for each."""
    return {name: emit / name if len(names) > 1 else emit for name in names}


def ending(name: str) -> str:
    """Return the ending of the files of a format."""
    return "jsonl" if name == "bge" else "parquet"


@dataclass(frozen=True)
class Examples:
    """(query, positive) pairs with their negatives.

    Attributes:
        wanted: number of negatives wanted for each.
        columns: one value per example: anchor, positive, query_id, positive_id, positive_score, anchor_score,
            positive_weight, positive_source, positive_probability, focal_weight if it is asked for; batch_id if there
            are batches; positive_rescore_score if the cross-encoder's scores are those to distil.
        lengths: int64, number of negatives of each example.
        negatives: one value per negative: negative, negative_id, negative_score, rank, rule, source; guide_score with
            a guide; rescore_score and cluster_weight if they are asked for; p_false_negative and weight if the filter
            gives probabilities. rank, rule, guide_score, rescore_score and p_false_negative are null for random
            documents.
        soft_labels: whether a negative's label is its p_false_negative (float32) instead of 0 (int32), and a positive's
            its positive_probability where it has one.
    """

    wanted: int
    columns: dict[str, pa.Array]
    lengths: np.ndarray
    negatives: dict[str, pa.Array]
    soft_labels: bool = False

    def emitted(self, name: str) -> "Examples":
        """Return the examples that get rows in a format."""
        keep = gets_rows([name], self.lengths, self.wanted)
        if keep.all():
            return self
        columns = {key: column.filter(pa.array(keep)) for key, column in self.columns.items()}
        negatives, of_negatives = self.negatives, np.repeat(keep, self.lengths)
        if not of_negatives.all():
            negatives = {key: column.filter(pa.array(of_negatives)) for key, column in negatives.items()}
        return replace(self, columns=columns, lengths=self.lengths[keep], negatives=negatives)

    def take(self, which: np.ndarray) -> "Examples":
        """Return the given examples (int64), in the given order."""
        at = pa.array(Ragged.from_lengths(np.zeros(0), self.lengths).places(which))
        return replace(
            self,
            columns={key: column.take(pa.array(which)) for key, column in self.columns.items()},
            lengths=self.lengths[which],
            negatives={key: column.take(at) for key, column in self.negatives.items()},
        )

    def labels(self) -> pa.Array:
        """Return each example's labels as a list: 1 (or P if soft and relabelled), then 0 (or P) for each negative."""
        positives = pa.array(np.ones(len(self.lengths), dtype=np.int32))
        negatives = pa.array(np.zeros(int(self.lengths.sum()), dtype=np.int32))
        if self.soft_labels:
            positives = pc.fill_null(self.columns["positive_probability"], 1)  # null: labelled or judged
            negatives = pc.fill_null(self.negatives["p_false_negative"], 0)  # null: a random document
        kind = pa.float32() if self.soft_labels else pa.int32()
        return self.lists(positives, negatives, kind, nullable=False)

    def lists(self, positive: pa.Array, negative: pa.Array, kind: pa.DataType, *, nullable: bool = True) -> pa.Array:
        """Return list<kind>: each example's positive value, then the values of its negatives."""
        values = pa.concat_arrays([single_array(column).cast(kind) for column in (positive, negative)])
        order = np.insert(
            np.arange(len(positive), len(values)), np.cumsum(self.lengths) - self.lengths, np.arange(len(positive))
        )
        offsets = np.concatenate([[0], np.cumsum(self.lengths + 1)])
        return list_array(offsets, values.take(pa.array(order)), nullable)

    def documents(self) -> pa.Array:
        """Return each example's documents as a list: the positive, then its negatives."""
        return self.lists(self.columns["positive"], self.negatives["negative"], self.columns["positive"].type)

    def extra(self, names: list[str]) -> dict[str, pa.Array]:
        """Return extra columns with one value per example, or one list per example."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        return {
            name: list_array(offsets, single_array(self.negatives[name]), nullable=True)
            if name in PER_NEGATIVE
            else self.columns[name]
            for name in names
        }


def triplet(examples: Examples, extra: list[str]) -> pa.Table:
    """One row per negative: anchor, positive, negative. For MultipleNegativesRankingLoss and similar losses."""
    repeat = pa.array(np.repeat(np.arange(len(examples.lengths)), examples.lengths))
    columns = {name: examples.columns[name].take(repeat) for name in ("anchor", "positive")}
    columns["negative"] = examples.negatives["negative"]
    for name in extra:
        columns[name] = examples.negatives[name] if name in PER_NEGATIVE else examples.columns[name].take(repeat)
    return pa.table(columns)


def n_tuple(examples: Examples, extra: list[str]) -> pa.Table:
    """One row per full example: anchor, positive, negative_1 .. negative_n."""
    full = examples.emitted("n-tuple")
    columns = {name: full.columns[name] for name in ("anchor", "positive")}
    for place in range(full.wanted):
        at = pa.array(np.arange(len(full.lengths), dtype=np.int64) * full.wanted + place)
        columns[f"negative_{place + 1}"] = full.negatives["negative"].take(at)
    return pa.table(columns | full.extra(extra))


def n_tuple_scores(examples: Examples, extra: list[str]) -> pa.Table:
    """As n-tuple, with scores: [positive, negative_1, ..]. For MarginMSELoss and distillation."""
    full = examples.emitted("n-tuple")
    scores = full.lists(full.columns["positive_score"], full.negatives["negative_score"], pa.float32())
    return n_tuple(full, extra).append_column("scores", scores)


def labeled_pair(examples: Examples, extra: list[str]) -> pa.Table:
    """One row per document: anchor, document, label 1 or 0 (or soft); the positive first, then its negatives.

    Extra columns of negatives are null in the positive's row, except its weights, which are 1.
    """
    examples = examples.emitted("labeled-pair")
    repeat = pa.array(np.repeat(np.arange(len(examples.lengths)), examples.lengths + 1))
    documents = examples.documents()
    columns = {
        "anchor": examples.columns["anchor"].take(repeat),
        "document": documents.flatten(),
        "label": examples.labels().flatten(),
    }
    for name in extra:
        if name in PER_NEGATIVE:
            values = single_array(examples.negatives[name])
            positives = pa.nulls(len(examples.lengths), values.type)
            column = examples.lists(positives, values, values.type).flatten()
            columns[name] = column.fill_null(1.0) if name in ("weight", "cluster_weight") else column
        else:
            columns[name] = examples.columns[name].take(repeat)
    return pa.table(columns)


def labeled_list(examples: Examples, extra: list[str]) -> pa.Table:
    """One row per example: anchor, documents, labels; the positive first. For LambdaLoss and other list losses."""
    examples = examples.emitted("labeled-list")
    columns = {
        "anchor": examples.columns["anchor"],
        "documents": examples.documents(),
        "labels": examples.labels(),
    }
    return pa.table(columns | examples.extra(extra))


def bge(examples: Examples, extra: list[str]) -> pa.Table:
    """One JSON line per example: query, pos, neg, pos_scores, neg_scores, the format of FlagEmbedding."""
    examples = examples.emitted("bge")
    rows = labeled_list(examples, []).to_pylist()
    scores = examples.lists(examples.columns["positive_score"], examples.negatives["negative_score"], pa.float32())
    extras = pa.table(examples.extra(extra)).to_pylist() if extra else [{}] * len(rows)
    lines = []
    for row, score, more in zip(rows, scores.to_pylist(), extras, strict=True):
        line = {
            "query": row["anchor"], "pos": row["documents"][:1], "neg": row["documents"][1:],
            "pos_scores": score[:1], "neg_scores": score[1:],
        }  # fmt: skip
        lines.append(json.dumps(line | more, ensure_ascii=False, allow_nan=False))
    return pa.table({"line": pa.array(lines, pa.string())})


def distillation(examples: Examples, extra: list[str]) -> pa.Table:
    """One row per example: query_id, document_ids, scores; the positive first. For losses that learn the scores.

    Scores are those that negatives are chosen by: the teacher's, or the cross-encoder's before they become percentiles.
    """
    examples = examples.emitted("distillation")
    of_positives, of_negatives = examples.columns["positive_score"], examples.negatives["negative_score"]
    if "positive_rescore_score" in examples.columns:
        of_positives, of_negatives = examples.columns["positive_rescore_score"], examples.negatives["rescore_score"]
    columns = {
        "query_id": examples.columns["query_id"],
        "document_ids": examples.lists(examples.columns["positive_id"], examples.negatives["negative_id"], pa.string()),
        "scores": examples.lists(of_positives, of_negatives, pa.float32()),
    }
    return pa.table(columns | examples.extra(extra))


FORMATS: dict[str, Callable[[Examples, list[str]], pa.Table]] = {
    "triplet": triplet,
    "n-tuple": n_tuple,
    "n-tuple-scores": n_tuple_scores,
    "labeled-pair": labeled_pair,
    "labeled-list": labeled_list,
    "bge": bge,
    "distillation": distillation,
}
