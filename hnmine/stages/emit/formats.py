"""The shapes of training rows. Each takes the rows' parts and gives one table, as the trainers' losses take it.

An example is one (query, positive) with its negatives. Shapes that need all negatives leave an example out that has
fewer than were wanted; the others write what there is.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import list_array, single_array

FULL_ONLY = ("n-tuple", "n-tuple-scores")
"""Shapes that leave out examples with fewer negatives than wanted."""


def gets_rows(name: str, lengths: np.ndarray, wanted: int) -> np.ndarray:
    """Tell which examples get rows in a shape, bool; by their number of negatives (int64) and the number wanted."""
    return np.asarray(lengths == wanted if name in FULL_ONLY else lengths > 0)


@dataclass(frozen=True)
class Examples:
    """(query, positive) pairs with their negatives.

    Attributes:
        wanted: negatives wanted for each.
        columns: one value an example: anchor, positive, query_id, positive_id, positive_score, anchor_score,
            positive_weight; batch_id where there are batches.
        lengths: number of negatives of each example.
        negatives: one value a negative: negative, negative_id, negative_score, rank, rule, source; guide_score where
            there is a guide; rescore_score where it is asked for; p_false_negative and weight where the filter gave
            probabilities. rank, rule, guide_score, rescore_score and p_false_negative are null where the negative is
            a random document.
        soft_labels: whether a negative's label is its p_false_negative (float32) instead of 0 (int32).
    """

    wanted: int
    columns: dict[str, pa.Array]
    lengths: np.ndarray
    negatives: dict[str, pa.Array]
    soft_labels: bool = False

    def full(self) -> "Examples":
        """Return only the examples that have all negatives wanted."""
        keep = self.lengths == self.wanted
        of_negatives = pa.array(np.repeat(keep, self.lengths))
        return replace(
            self,
            columns={name: column.filter(pa.array(keep)) for name, column in self.columns.items()},
            lengths=self.lengths[keep],
            negatives={name: column.filter(of_negatives) for name, column in self.negatives.items()},
        )

    def some(self) -> "Examples":
        """Return only the examples that have a negative."""
        keep = pa.array(self.lengths > 0)
        columns = {name: column.filter(keep) for name, column in self.columns.items()}
        return replace(self, columns=columns, lengths=self.lengths[self.lengths > 0])

    def labels(self) -> pa.Array:
        """Return the labels of each example as lists: 1 of the positive, then of its negatives 0, or P if soft."""
        ones = np.ones(len(self.lengths), dtype=np.int32)
        columns: dict[str, pa.Array] = {"label": pa.array(ones)}
        negatives = {"label": pa.array(np.zeros(int(self.lengths.sum()), dtype=np.int32))}
        if self.soft_labels:
            negatives["label"] = pc.fill_null(self.negatives["p_false_negative"], 0)  # null: a random document
        kind = pa.float32() if self.soft_labels else pa.int32()
        lists = _with_positive(replace(self, columns=columns, negatives=negatives), "label", "label", kind)
        return pa.ListArray.from_arrays(
            lists.offsets, lists.values, type=pa.list_(pa.field("item", kind, nullable=False))
        )


PER_NEGATIVE = (
    "negative_id", "negative_score", "rank", "rule", "source", "guide_score", "rescore_score",
    "p_false_negative", "weight",
)  # fmt: skip


def triplet(examples: Examples, extra: list[str]) -> pa.Table:
    """One row a negative: anchor, positive, negative. For MultipleNegativesRankingLoss and the like."""
    repeat = pa.array(np.repeat(np.arange(len(examples.lengths)), examples.lengths))
    columns = {name: examples.columns[name].take(repeat) for name in ("anchor", "positive")}
    columns["negative"] = examples.negatives["negative"]
    for name in extra:
        columns[name] = examples.negatives[name] if name in PER_NEGATIVE else examples.columns[name].take(repeat)
    return pa.table(columns)


def n_tuple(examples: Examples, extra: list[str]) -> pa.Table:
    """One row an example: anchor, positive, negative_1 .. negative_n; only full examples."""
    full = examples.full()
    columns = {name: full.columns[name] for name in ("anchor", "positive")}
    for place in range(full.wanted):
        at = pa.array(np.arange(len(full.lengths), dtype=np.int64) * full.wanted + place)
        columns[f"negative_{place + 1}"] = full.negatives["negative"].take(at)
    return pa.table(columns | _extra(full, extra))


def n_tuple_scores(examples: Examples, extra: list[str]) -> pa.Table:
    """As n-tuple, and scores: [positive, negative_1, ..]. For MarginMSELoss and distillation."""
    table = n_tuple(examples, extra)
    full = examples.full()
    return table.append_column("scores", _with_positive(full, "positive_score", "negative_score", pa.float32()))


def labeled_pair(examples: Examples, extra: list[str]) -> pa.Table:
    """One row a document: anchor, document, label 1 or 0 (or soft); the positive once, then its negatives.

    Extra columns of negatives are null beside the positive, but its weight is 1.
    """
    examples = examples.some()
    lengths = examples.lengths + 1
    repeat = pa.array(np.repeat(np.arange(len(lengths)), lengths))
    documents = _with_positive(examples, "positive", "negative", pa.string()).flatten()
    first = np.zeros(int(lengths.sum()), dtype=bool)
    first[np.cumsum(lengths) - lengths] = True
    columns = {
        "anchor": examples.columns["anchor"].take(repeat),
        "document": documents,
        "label": examples.labels().flatten(),
    }
    for name in extra:
        if name in PER_NEGATIVE:
            at = np.where(first, -1, np.cumsum(~first) - 1)
            column = examples.negatives[name].take(pa.array(at, mask=first))
            columns[name] = column.fill_null(1.0) if name == "weight" else column
        else:
            columns[name] = examples.columns[name].take(repeat)
    return pa.table(columns)


def labeled_list(examples: Examples, extra: list[str]) -> pa.Table:
    """One row an example: anchor, documents, labels; the positive first. For LambdaLoss and other list losses."""
    examples = examples.some()
    columns = {
        "anchor": examples.columns["anchor"],
        "documents": _with_positive(examples, "positive", "negative", pa.string()),
        "labels": examples.labels(),
    }
    return pa.table(columns | _extra(examples, extra))


def bge(examples: Examples, extra: list[str]) -> pa.Table:
    """One JSON line an example: query, pos, neg, pos_scores, neg_scores, as FlagEmbedding trains on."""
    examples = examples.some()
    rows = labeled_list(examples, []).to_pylist()
    scores = _with_positive(examples, "positive_score", "negative_score", pa.float32()).to_pylist()
    extras = pa.table(_extra(examples, extra) or {"": pa.nulls(len(rows))}).to_pylist()
    lines = []
    for row, score, more in zip(rows, scores, extras, strict=True):
        line = {
            "query": row["anchor"], "pos": row["documents"][:1], "neg": row["documents"][1:],
            "pos_scores": score[:1], "neg_scores": score[1:],
        }  # fmt: skip
        line |= {name: value for name, value in more.items() if name}
        lines.append(json.dumps(line, ensure_ascii=False, allow_nan=False))
    return pa.table({"line": pa.array(lines, pa.string())})


def _extra(examples: Examples, names: list[str]) -> dict[str, pa.Array]:
    out = {}
    for name in names:
        if name in PER_NEGATIVE:
            offsets = np.concatenate([[0], np.cumsum(examples.lengths)])
            out[name] = list_array(offsets, single_array(examples.negatives[name]), nullable=True)
        else:
            out[name] = examples.columns[name]
    return out


def _with_positive(examples: Examples, positive: str, negative: str, kind: pa.DataType) -> pa.Array:
    """Return list<kind>: of each example its positive's value, then its negatives'."""
    first, rest = single_array(examples.columns[positive]), single_array(examples.negatives[negative])
    lengths = examples.lengths
    owner = np.repeat(np.arange(len(lengths)), lengths + 1)
    starts = np.concatenate([[0], np.cumsum(lengths + 1)])
    is_first = np.zeros(len(owner), dtype=bool)
    is_first[starts[:-1]] = True
    source = np.where(is_first, owner, len(lengths) + np.cumsum(~is_first) - 1)
    values = pa.concat_arrays([first.cast(kind), rest.cast(kind)]).take(pa.array(source))
    return list_array(starts, values, nullable=True)


FORMATS: dict[str, Callable[[Examples, list[str]], pa.Table]] = {
    "triplet": triplet,
    "n-tuple": n_tuple,
    "n-tuple-scores": n_tuple_scores,
    "labeled-pair": labeled_pair,
    "labeled-list": labeled_list,
    "bge": bge,
}
